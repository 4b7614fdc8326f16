#include <fmt/format.h>

#include <bit>
#include <cmath>

#include "kernels/contract/conformance/fixture.h"
#include "kernels/contract/tolerance.h"

namespace mg::contract {
namespace {

struct NormCase {
  std::int64_t rows, width, groups;
  DType dtype;
  double weight_offset = 0;  // RMSNorm
  bool bias = false;         // LayerNorm
  bool in_place = false;
  Planted planted = Planted::kNothing;
  double scale = 1.0;  // of the inputs: small ones make eps count
};

std::vector<float> inputs_of(const NormCase& c, Random& random) {
  std::vector<float> x = random.normals(c.rows * c.width * c.groups, 3.0 * c.scale);
  for (float& value : x) {
    value += static_cast<float>(c.scale);  // a mean that LayerNorm must remove
  }
  if (c.planted != Planted::kNothing) {
    x[x.size() / 2] = planted_value(c.planted);
  }
  return x;
}

CaseResult run_rms(const NormCase& c, const Parties& parties, Random& random) {
  const std::vector<float> x = inputs_of(c, random);
  const StoredTensor weight = random_tensor(random, c.dtype, {c.width}, 1.0);
  const std::int64_t cols = c.width * c.groups;
  const Operation operation = [&](Backend& backend, Stage& stage) {
    const Mat in = stage.put(x, c.rows, cols);
    const Mat out = c.in_place ? in : stage.output(c.rows, cols);
    backend.rms_norm(in, weight.view(), 1e-5, c.weight_offset, c.groups, out);
    return out;
  };
  return judge(parties, operation, [&](std::size_t, double expected) {
    return rms_norm(parties.subject.arithmetic(), c.width, expected);
  });
}

struct RowStatistics {
  double mean;
  double mean_magnitude;
  double variance;
};

std::vector<RowStatistics> statistics_of(const std::vector<float>& x, std::size_t width) {
  const auto n = static_cast<double>(width);
  std::vector<RowStatistics> rows;
  for (std::size_t begin = 0; begin < x.size(); begin += width) {
    RowStatistics row{};
    for (std::size_t i = begin; i < begin + width; ++i) {
      row.mean += static_cast<double>(x[i]) / n;
      row.mean_magnitude += std::fabs(static_cast<double>(x[i])) / n;
    }
    for (std::size_t i = begin; i < begin + width; ++i) {
      row.variance += std::pow(static_cast<double>(x[i]) - row.mean, 2) / n;
    }
    rows.push_back(row);
  }
  return rows;
}

CaseResult run_layer(const NormCase& c, const Parties& parties, Random& random) {
  constexpr double kEps = 1e-5;
  const std::vector<float> x = inputs_of(c, random);
  const StoredTensor weight = random_tensor(random, c.dtype, {c.width}, 1.0);
  const StoredTensor bias = random_tensor(random, c.dtype, {c.width}, 1.0);
  const Operation operation = [&](Backend& backend, Stage& stage) {
    const Mat in = stage.put(x, c.rows, c.width);
    const Mat out = c.in_place ? in : stage.output(c.rows, c.width);
    backend.layer_norm(in, weight.view(), c.bias ? bias.view() : TensorView{}, kEps, out);
    return out;
  };
  const std::vector<double> w = weight.values();
  const std::vector<double> b = bias.values();
  const std::vector<RowStatistics> rows = statistics_of(x, static_cast<std::size_t>(c.width));
  return judge(parties, operation, [&](std::size_t i, double expected) {
    const RowStatistics& row = rows[i / static_cast<std::size_t>(c.width)];
    const std::size_t column = i % static_cast<std::size_t>(c.width);
    return layer_norm(parties.subject.arithmetic(), c.width, expected,
                      std::fabs(w[column]) / std::sqrt(row.variance + kEps), row.mean_magnitude,
                      std::fabs(static_cast<double>(x[i]) - row.mean),
                      c.bias ? std::fabs(b[column]) : 0.0);
  });
}

std::vector<std::uint32_t> bits_of(const std::vector<float>& values) {
  std::vector<std::uint32_t> bits;
  for (const float value : values) {
    bits.push_back(std::isnan(value) ? 0x7FC00000U : std::bit_cast<std::uint32_t>(value));
  }
  return bits;
}

/// The subject's fused call against its two calls, on hidden states and on what is normed.
CaseResult run_fused(const NormCase& c, bool rms, const Parties& parties, Random& random) {
  constexpr double kEps = 1e-5;
  const std::vector<float> update = inputs_of(c, random);
  const std::vector<float> hidden = random.normals(c.rows * c.width);
  const StoredTensor weight = random_tensor(random, c.dtype, {c.width}, 1.0);
  const StoredTensor bias = random_tensor(random, c.dtype, {c.width}, 1.0);
  const TensorView shift = c.bias ? bias.view() : TensorView{};
  Backend& backend = parties.subject;
  CaseResult result;
  const auto run = [&](bool fused) {
    Stage stage(backend);
    const Mat x = stage.put(update, c.rows, c.width);
    const Mat y = stage.put(hidden, c.rows, c.width);
    const Mat out = stage.output(c.rows, c.width);
    const std::vector<std::uint32_t> before = bits_of(stage.get(x));
    if (fused && rms) {
      backend.add_rms_norm(x, y, weight.view(), kEps, c.weight_offset, out);
    } else if (fused) {
      backend.add_layer_norm(x, y, weight.view(), shift, kEps, out);
    } else {
      backend.add(x, y);
      rms ? backend.rms_norm(y, weight.view(), kEps, c.weight_offset, 1, out)
          : backend.layer_norm(y, weight.view(), shift, kEps, out);
    }
    if (!stage.intact() || bits_of(stage.get(x)) != before) {
      result.failure = "wrote outside its outputs";
    }
    std::vector<float> all = stage.get(y);
    const std::vector<float> normed = stage.get(out);
    all.insert(all.end(), normed.begin(), normed.end());
    return bits_of(all);
  };
  if (run(true) != run(false) && result.failure.empty()) {
    result.failure = "other bits than add() and the norm give";
  }
  return result;
}

std::string name_of(const NormCase& c) {
  return fmt::format("{} T{} {}x{}{}{}{}{} scale {}", dtype_name(c.dtype), c.rows, c.groups,
                     c.width, c.weight_offset != 0 ? " offset" : "", c.bias ? " bias" : "",
                     c.in_place ? " in place" : "", planted_name(c.planted), c.scale);
}

void add_rms(Cases& cases, const NormCase& c) {
  add_case(cases, "rms_norm", name_of(c),
           [c](const Parties& parties, Random& random) { return run_rms(c, parties, random); });
}

void add_layer(Cases& cases, const NormCase& c) {
  add_case(cases, "layer_norm", name_of(c),
           [c](const Parties& parties, Random& random) { return run_layer(c, parties, random); });
}

void add_fused(Cases& cases, const NormCase& c) {
  for (const bool rms : {true, false}) {
    add_case(cases, rms ? "add_rms_norm" : "add_layer_norm", name_of(c),
             [c, rms](const Parties& parties, Random& random) {
               return run_fused(c, rms, parties, random);
             });
  }
}

}  // namespace

void add_norm_cases(Cases& cases) {
  for (const DType dtype : {DType::kF16, DType::kBF16, DType::kF32}) {
    for (const double offset : {0.0, 1.0}) {
      add_rms(cases, {0, 16, 1, dtype, offset});
      add_rms(cases, {1, 1, 1, dtype, offset});
      add_rms(cases, {3, 15, 2, dtype, offset, false, true});
      add_rms(cases, {16, 64, 5, dtype, offset});
      add_rms(cases, {31, 577, 1, dtype, offset, false, true});
      add_rms(cases, {2, 5000, 1, dtype, offset});
      add_rms(cases, {7, 100, 1, dtype, offset, false, false, Planted::kNothing, 0x1p-9});
    }
    for (const bool bias : {false, true}) {
      add_layer(cases, {0, 16, 1, dtype, 0, bias});
      add_layer(cases, {3, 15, 1, dtype, 0, bias, true});
      add_layer(cases, {17, 768, 1, dtype, 0, bias});
      add_layer(cases, {2, 4099, 1, dtype, 0, bias});
      add_layer(cases, {7, 100, 1, dtype, 0, bias, false, Planted::kNothing, 0x1p-9});
    }
  }
  // A warp a row, with and without a tail; a block a row; Gemma's order of roundings.
  add_fused(cases, {0, 16, 1, DType::kF16});
  add_fused(cases, {1, 1, 1, DType::kF32});
  add_fused(cases, {17, 577, 1, DType::kBF16, 0, true});
  add_fused(cases, {3, 1024, 1, DType::kF16, 1.0});
  add_fused(cases, {2, 5000, 1, DType::kF16, 0, true});
  for (const Planted planted : {Planted::kNan, Planted::kInf}) {
    add_rms(cases, {5, 33, 4, DType::kF16, 0, false, false, planted});
    add_layer(cases, {5, 33, 1, DType::kF16, 0, true, false, planted});
    add_fused(cases, {5, 33, 1, DType::kF16, 0, true, false, planted});
  }
}

}  // namespace mg::contract
