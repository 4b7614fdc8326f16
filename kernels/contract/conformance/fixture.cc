#include "kernels/contract/conformance/fixture.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <limits>

#include "kernels/contract/tolerance.h"
#include "kernels/core/convert.h"
#include "kernels/core/error.h"

namespace mg::contract {
namespace {

// Exact in every arithmetic, and nothing a kernel would write by chance.
constexpr float kGuard = -12288.0F;
constexpr std::int64_t kGuardCols = 3;

bool is_eight_bit(DType dtype) {
  return dtype == DType::kF8E4M3 || dtype == DType::kF8E5M2;
}

/// A pattern whose exponent lies within a few steps of 1, so that sums stay well-behaved.
std::byte random_f8(Random& random, DType dtype) {
  const std::uint64_t raw = random.bits();
  const auto sign = static_cast<unsigned>(raw & 1) << 7;
  const int mantissa_bits = dtype == DType::kF8E4M3 ? 3 : 2;
  const int bias = dtype == DType::kF8E4M3 ? 7 : 15;
  const auto exponent = static_cast<unsigned>(bias - 4 + static_cast<int>((raw >> 1) % 5));
  const auto mantissa = static_cast<unsigned>(raw >> 8) & ((1U << mantissa_bits) - 1U);
  return static_cast<std::byte>(sign | (exponent << mantissa_bits) | mantissa);
}

}  // namespace

std::uint64_t Random::bits() {
  state_ += 0x9E3779B97F4A7C15ULL;
  std::uint64_t z = state_;
  z = (z ^ (z >> 30)) * 0xBF58476D1CE4E5B9ULL;
  z = (z ^ (z >> 27)) * 0x94D049BB133111EBULL;
  return z ^ (z >> 31);
}

double Random::uniform(double low, double high) {
  return low + (high - low) * static_cast<double>(bits() >> 11) * 0x1p-53;
}

std::int64_t Random::below(std::int64_t n) {
  return static_cast<std::int64_t>(bits() % static_cast<std::uint64_t>(n));
}

float Random::normal(double scale) {
  double sum = -6;
  for (int i = 0; i < 12; ++i) {
    sum += uniform(0, 1);
  }
  return static_cast<float>(scale * sum);
}

std::vector<float> Random::normals(std::int64_t n, double scale) {
  std::vector<float> values(static_cast<std::size_t>(n));
  for (float& value : values) {
    value = normal(scale);
  }
  return values;
}

std::vector<double> StoredTensor::values() const {
  const TensorView tensor = view();
  std::vector<double> out(static_cast<std::size_t>(tensor.elements()));
  widen_to_double(dtype, tensor.data, tensor.elements(), out.data());
  return out;
}

StoredTensor random_tensor(Random& random, DType dtype, const Shape& shape, double scale) {
  StoredTensor tensor{dtype, shape, {}};
  const std::int64_t n = element_count(shape).value_or(0);
  tensor.bytes.resize(static_cast<std::size_t>(1 + n * dtype_bits(dtype) / 8));
  if (is_eight_bit(dtype)) {
    std::generate(tensor.bytes.begin() + 1, tensor.bytes.end(),
                  [&] { return random_f8(random, dtype); });
    return tensor;
  }
  const std::vector<float> values = random.normals(n, scale);
  const std::vector<double> wide(values.begin(), values.end());
  narrow_from_double(dtype, wide.data(), n, tensor.bytes.data() + 1);
  return tensor;
}

StoredTensor magnitude_of(StoredTensor tensor) {
  const auto width = static_cast<std::size_t>(dtype_bits(tensor.dtype) / 8);
  for (std::size_t i = width; i < tensor.bytes.size();
       i += width) {  // little-endian: the last byte
    tensor.bytes[i] &= std::byte{0x7F};
  }
  return tensor;
}

std::vector<float> magnitude_of(std::vector<float> values) {
  for (float& value : values) {
    value = std::fabs(value);
  }
  return values;
}

void plant(StoredTensor& tensor, std::int64_t element, float value) {
  MG_CHECK(is_plain(tensor.dtype), "a NaN is planted into a 16- or 32-bit tensor");
  const std::int64_t width = dtype_bits(tensor.dtype) / 8;
  narrow_from_float(tensor.dtype, &value, 1, tensor.bytes.data() + 1 + element * width);
}

Mat Stage::output(std::int64_t rows, std::int64_t cols) {
  const std::int64_t stride = cols + kGuardCols;
  const std::int64_t elements = (rows + 2) * stride;
  const std::vector<float> guards(static_cast<std::size_t>(elements), kGuard);
  Guarded entry{backend_.allocate(elements), {}, elements};
  backend_.upload(guards, whole(*entry.buffer, 1, elements));
  entry.window = {entry.buffer.get(), stride + 1, rows, cols, stride};
  guarded_.push_back(std::move(entry));
  return guarded_.back().window;
}

Mat Stage::put(std::span<const float> values, std::int64_t rows, std::int64_t cols) {
  const Mat window = output(rows, cols);
  backend_.upload(values, window);
  return window;
}

std::vector<float> Stage::get(const Mat& x) {
  std::vector<float> staging;
  const std::span<const float> values = backend_.read(x, staging);
  return {values.begin(), values.end()};
}

bool Stage::intact() {
  return std::all_of(guarded_.begin(), guarded_.end(), [&](const Guarded& entry) {
    const std::vector<float> all = get(whole(*entry.buffer, 1, entry.elements));
    const Mat& w = entry.window;
    for (std::int64_t i = 0; i < entry.elements; ++i) {
      const std::int64_t from_start = i - w.offset;
      const bool inside =
          from_start >= 0 && from_start / w.stride < w.rows && from_start % w.stride < w.cols;
      if (!inside && all[static_cast<std::size_t>(i)] != kGuard) {
        return false;
      }
    }
    return true;
  });
}

std::vector<float> result_of(Backend& backend, const Operation& operation) {
  Stage stage(backend);
  const Mat out = operation(backend, stage);
  return stage.get(out);
}

CaseResult judge(const Parties& parties, const Operation& operation, const Allowed& allowed,
                 double share) {
  constexpr std::int64_t kEnoughForShare = 500;
  const std::vector<float> expected = result_of(parties.oracle, operation);
  Stage stage(parties.subject);
  const Mat out = operation(parties.subject, stage);
  const std::vector<float> actual = stage.get(out);
  std::vector<double> tolerance(expected.size());
  for (std::size_t i = 0; i < expected.size(); ++i) {
    tolerance[i] = allowed(i, static_cast<double>(expected[i]));
  }
  CaseResult result{compare(expected, actual, tolerance), {}};
  if (!result.comparison.ok()) {
    result.failure = describe(result.comparison);
  } else if (!stage.intact()) {
    result.failure = "wrote outside its output or into an input's surroundings";
  } else if (result.comparison.elements >= kEnoughForShare &&
             !(result.comparison.same_share() >= share)) {
    result.failure = fmt::format(
        "only {:.1f} % of elements have the oracle's bits, at least {:.1f} % "
        "must: a rounding is missing or in another place",
        100 * result.comparison.same_share(), 100 * share);
  }
  return result;
}

CaseResult judge(const Parties& parties, const Operation& operation, const Allowed& allowed) {
  return judge(parties, operation, allowed, same_bits_share(parties.subject.arithmetic()));
}

float planted_value(Planted planted) {
  switch (planted) {
    case Planted::kNan:
      return std::numeric_limits<float>::quiet_NaN();
    case Planted::kInf:
      return std::numeric_limits<float>::infinity();
    case Planted::kMinusInf:
      return -std::numeric_limits<float>::infinity();
    case Planted::kNothing:
      break;
  }
  MG_CHECK(false, "something is planted");
}

std::string planted_name(Planted planted) {
  switch (planted) {
    case Planted::kNothing:
      return "";
    case Planted::kNan:
      return " NaN planted";
    case Planted::kInf:
      return " Inf planted";
    case Planted::kMinusInf:
      return " -Inf planted";
  }
  return "";
}

void add_case(Cases& cases, std::string operation, std::string name,
              std::function<CaseResult(const Parties& parties, Random& random)> run) {
  const std::uint64_t seed = 1000 + cases.size();
  cases.push_back({std::move(operation), std::move(name), seed,
                   [seed, run = std::move(run)](const Parties& parties) {
                     Random random(seed);
                     return run(parties, random);
                   }});
}

std::vector<ConformanceCase> conformance_cases() {
  Cases cases;
  add_memory_cases(cases);
  add_embedding_cases(cases);
  add_norm_cases(cases);
  add_linear_cases(cases);
  add_low_rank_cases(cases);
  add_elementwise_cases(cases);
  add_rope_cases(cases);
  add_attention_cases(cases);
  add_activation_cases(cases);
  add_route_cases(cases);
  add_row_statistics_cases(cases);
  add_dequantise_cases(cases);
  return cases;
}

}  // namespace mg::contract
