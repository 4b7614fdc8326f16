#include <fmt/format.h>

#include <cmath>

#include "kernels/contract/conformance/fixture.h"
#include "kernels/contract/tolerance.h"

namespace mg::contract {
namespace {

constexpr std::int64_t kVocabulary = 53;

std::vector<std::int32_t> random_ids(Random& random, std::int64_t n) {
  std::vector<std::int32_t> ids(static_cast<std::size_t>(n));
  for (std::int32_t& id : ids) {
    id = static_cast<std::int32_t>(random.below(kVocabulary));
  }
  return ids;
}

struct EmbedCase {
  std::int64_t rows, hidden;
  DType dtype;
  double factor;
  bool planted = false;
};

CaseResult run_embed(const EmbedCase& c, const Parties& parties, Random& random) {
  StoredTensor table = random_tensor(random, c.dtype, {kVocabulary, c.hidden}, 1.0);
  const std::vector<std::int32_t> ids = random_ids(random, c.rows);
  if (c.planted) {
    plant(table, ids[0] * c.hidden + c.hidden / 2, planted_value(Planted::kNan));
  }
  const Operation operation = [&](Backend& backend, Stage& stage) {
    const Mat out = stage.output(c.rows, c.hidden);
    backend.embed(table.view(), ids, c.factor, out);
    return out;
  };
  return judge(parties, operation, [&](std::size_t, double expected) {
    return elementwise(parties.subject.arithmetic(), 1, std::fabs(expected));
  });
}

struct LowRankEmbedCase {
  std::int64_t rows, rank, hidden;
  DType dtype;
};

CaseResult run_low_rank_embed(const LowRankEmbedCase& c, const Parties& parties, Random& random) {
  constexpr double kScale = 1.5;
  const StoredTensor a = random_tensor(random, c.dtype, {c.rank, kVocabulary}, 0.3);
  const StoredTensor b = random_tensor(random, c.dtype, {c.hidden, c.rank}, 0.3);
  const std::vector<std::int32_t> ids = random_ids(random, c.rows);
  const std::vector<float> y = random.normals(c.rows * c.hidden);
  const std::vector<float> zeros(y.size(), 0.0F);
  const auto apply = [&](const StoredTensor& down, const StoredTensor& up,
                         const std::vector<float>& start) -> Operation {
    return [&](Backend& backend, Stage& stage) {
      const Mat out = stage.put(start, c.rows, c.hidden);
      backend.low_rank_embed(ids, down.view(), up.view(), kScale, out);
      return out;
    };
  };
  const StoredTensor abs_a = magnitude_of(a);
  const StoredTensor abs_b = magnitude_of(b);
  const std::vector<float> magnitudes = result_of(parties.exact, apply(abs_a, abs_b, zeros));
  return judge(parties, apply(a, b, y), [&](std::size_t i, double expected) {
    return low_rank(parties.subject.arithmetic(), 0, c.rank, expected,
                    static_cast<double>(magnitudes[i]), std::fabs(static_cast<double>(y[i])));
  });
}

void add_embed(Cases& cases, const EmbedCase& c) {
  add_case(cases, "embed",
           fmt::format("{} T{} H{} factor {}{}", dtype_name(c.dtype), c.rows, c.hidden, c.factor,
                       c.planted ? " NaN planted" : ""),
           [c](const Parties& parties, Random& random) { return run_embed(c, parties, random); });
}

}  // namespace

void add_embedding_cases(Cases& cases) {
  for (const DType dtype :
       {DType::kF16, DType::kBF16, DType::kF32, DType::kF8E4M3, DType::kF8E5M2}) {
    add_embed(cases, {0, 8, dtype, 1.0});
    add_embed(cases, {1, 1, dtype, 1.0});
    add_embed(cases, {17, 67, dtype, 1.0});
    add_embed(cases, {31, 64, dtype, 8.25});
  }
  add_embed(cases, {9, 40, DType::kBF16, 6.5, true});
  for (const DType dtype : {DType::kF16, DType::kBF16, DType::kF32}) {
    for (const auto& [rows, rank, hidden] :
         {std::array<std::int64_t, 3>{0, 4, 8}, {1, 1, 1}, {5, 8, 67}, {33, 16, 100}}) {
      const LowRankEmbedCase c{rows, rank, hidden, dtype};
      add_case(cases, "low_rank_embed",
               fmt::format("{} T{} R{} H{}", dtype_name(dtype), rows, rank, hidden),
               [c](const Parties& p, Random& random) { return run_low_rank_embed(c, p, random); });
    }
  }
}

}  // namespace mg::contract
