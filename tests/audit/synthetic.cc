#include "tests/audit/synthetic.h"

#include <algorithm>
#include <cmath>
#include <cstring>

#include "kernels/core/error.h"
#include "kernels/core/half.h"

namespace mg::test {
namespace {

std::size_t width(DType dtype) {
  return static_cast<std::size_t>(dtype_bits(dtype) / 8);
}

float dot(const std::vector<float>& products, Order order) {
  float sum = 0.0F;
  switch (order) {
    case Order::kAscending:
    case Order::kFma:
      for (const float value : products) {
        sum += value;
      }
      return sum;
    case Order::kDescending:
      for (std::size_t i = products.size(); i-- > 0;) {
        sum += products[i];
      }
      return sum;
    case Order::kPairwise: {
      std::vector<float> level = products;
      while (level.size() > 1) {
        std::vector<float> next;
        for (std::size_t i = 0; i + 1 < level.size(); i += 2) {
          next.push_back(level[i] + level[i + 1]);
        }
        if (level.size() % 2 == 1) {
          next.push_back(level.back());
        }
        level = next;
      }
      return level.empty() ? 0.0F : level.front();
    }
  }
  return sum;
}

}  // namespace

Tensor::Tensor(DType type, Shape dims) : dtype(type), shape(std::move(dims)) {
  bytes.resize(static_cast<std::size_t>(element_count(shape).value()) * width(dtype));
}

std::int64_t Tensor::size() const {
  return element_count(shape).value();
}

double Tensor::get(std::int64_t i) const {
  const std::byte* at = bytes.data() + static_cast<std::size_t>(i) * width(dtype);
  if (dtype == DType::kF32) {
    float value = 0;
    std::memcpy(&value, at, sizeof(value));
    return static_cast<double>(value);
  }
  std::uint16_t bits = 0;
  std::memcpy(&bits, at, sizeof(bits));
  return static_cast<double>(dtype == DType::kF16 ? half_to_float(bits) : bf16_to_float(bits));
}

void Tensor::set(std::int64_t i, double value) {
  std::byte* at = bytes.data() + static_cast<std::size_t>(i) * width(dtype);
  if (dtype == DType::kF32) {
    const auto narrow = static_cast<float>(value);
    std::memcpy(at, &narrow, sizeof(narrow));
    return;
  }
  const std::uint16_t bits = dtype == DType::kF16 ? double_to_half(value) : double_to_bf16(value);
  std::memcpy(at, &bits, sizeof(bits));
}

void Tensor::nudge(std::int64_t i, int steps) {
  std::byte* at = bytes.data() + static_cast<std::size_t>(i) * width(dtype);
  if (dtype == DType::kF32) {
    std::int32_t bits = 0;
    std::memcpy(&bits, at, sizeof(bits));
    bits += steps;
    std::memcpy(at, &bits, sizeof(bits));
    return;
  }
  std::uint16_t bits = 0;
  std::memcpy(&bits, at, sizeof(bits));
  bits = static_cast<std::uint16_t>(bits + steps);
  std::memcpy(at, &bits, sizeof(bits));
}

TensorView Tensor::view() const {
  return {.dtype = dtype, .shape = shape, .data = bytes.data(), .bytes = bytes.size()};
}

Tensor Tensor::normal(DType type, Shape dims, double sigma, std::mt19937_64& random) {
  Tensor tensor(type, std::move(dims));
  std::normal_distribution<double> distribution(0.0, sigma);
  for (std::int64_t i = 0; i < tensor.size(); ++i) {
    tensor.set(i, distribution(random));
  }
  return tensor;
}

Tensor Tensor::as(DType type) const {
  Tensor other(type, shape);
  for (std::int64_t i = 0; i < size(); ++i) {
    other.set(i, get(i));
  }
  return other;
}

float round_float(float value, std::optional<DType> dtype) {
  if (!dtype || *dtype == DType::kF32) {
    return value;
  }
  return *dtype == DType::kF16 ? half_to_float(float_to_half(value))
                               : bf16_to_float(float_to_bf16(value));
}

void LowRankCase::fill(const Options& options) {
  std::mt19937_64 random(options.seed);
  weight = Tensor::normal(options.base, {options.rows, options.cols}, 0.05, random);
  a = Tensor::normal(options.adapter, {options.rank, options.cols}, 0.05, random);
  // |D| = s * sigma_b * sigma_a * sqrt(r) per element against 0.05.
  const double sigma_b =
      options.delta_ratio / (options.scale * std::sqrt(static_cast<double>(options.rank)));
  b = Tensor::normal(options.adapter, {options.rows, options.rank}, sigma_b, random);
  if (options.dora) {
    magnitude = Tensor(options.adapter, {options.rows});
    for (std::int64_t i = 0; i < options.rows; ++i) {
      double square = 0;
      for (std::int64_t j = 0; j < options.cols; ++j) {
        square += std::pow(weight.get(i * options.cols + j), 2);
      }
      magnitude.set(i, std::sqrt(square) * (1.0 + 0.1 * options.delta_ratio));
    }
  }
  stored.view = weight.view();
  module.a = a.view();
  module.b = b.view();
  module.magnitude = options.dora ? magnitude.view() : TensorView{};
  module.rank = options.rank;
  module.scale = options.scale;
  attached.target = &stored;
  attached.module = &module;
}

Tensor LowRankCase::merge(DType merged, const MergeSteps& steps, double multiple) const {
  const Pair pair{a, b, module.scale, attached.transposed,
                  module.magnitude.empty() ? Tensor() : magnitude};
  return merge_pair(weight, pair, merged, steps, multiple);
}

Tensor merge_pair(const Tensor& weight, const Pair& pair, DType merged, const MergeSteps& steps,
                  double multiple) {
  const std::int64_t rows = weight.shape[0];
  const std::int64_t cols = weight.size() / rows;
  const std::int64_t rank = pair.a.shape[0];
  const auto scale = static_cast<float>(pair.scale * multiple);
  std::vector<float> lefts(static_cast<std::size_t>(rows * rank));
  std::vector<float> rights(static_cast<std::size_t>(cols * rank));
  for (std::int64_t k = 0; k < rank; ++k) {
    for (std::int64_t i = 0; i < rows; ++i) {
      const double value = pair.transposed ? pair.a.get(k * rows + i) : pair.b.get(i * rank + k);
      lefts[static_cast<std::size_t>(i * rank + k)] =
          round_float(static_cast<float>(value), steps.adapter);
    }
    for (std::int64_t j = 0; j < cols; ++j) {
      const double value = pair.transposed ? pair.b.get(j * rank + k) : pair.a.get(k * cols + j);
      rights[static_cast<std::size_t>(j * rank + k)] =
          round_float(static_cast<float>(value), steps.adapter);
    }
  }
  std::vector<float> updated(static_cast<std::size_t>(rows * cols));
  std::vector<float> products(static_cast<std::size_t>(rank));
  for (std::int64_t i = 0; i < rows; ++i) {
    for (std::int64_t j = 0; j < cols; ++j) {
      const float* left = lefts.data() + i * rank;
      const float* right = rights.data() + j * rank;
      float fused = 0.0F;
      for (std::int64_t k = 0; k < rank; ++k) {
        products[static_cast<std::size_t>(k)] = left[k] * right[k];
        if (steps.order == Order::kFma) {
          fused = std::fma(left[k], right[k], fused);
        }
      }
      const float product = steps.order == Order::kFma ? fused : dot(products, steps.order);
      const float delta = round_float(round_float(product, steps.product) * scale, steps.delta);
      const float loaded = round_float(static_cast<float>(weight.get(i * cols + j)), steps.load);
      float sum = loaded + delta;
      if (steps.accumulate_on_weight) {
        sum = loaded;
        for (const float value : products) {
          sum += value * scale;
        }
      }
      updated[static_cast<std::size_t>(i * cols + j)] = round_float(sum, steps.update);
    }
  }
  const bool dora = !pair.magnitude.shape.empty();
  std::vector<double> square(static_cast<std::size_t>(std::max(rows, cols)), 0.0);
  const auto group = [&](std::int64_t at) {
    return static_cast<std::size_t>(pair.transposed ? at % cols : at / cols);
  };
  Tensor out(merged, weight.shape);
  for (std::int64_t at = 0; at < rows * cols; ++at) {
    const auto value = static_cast<double>(updated[static_cast<std::size_t>(at)]);
    square[group(at)] += value * value;
  }
  for (std::int64_t at = 0; at < rows * cols; ++at) {
    float value = updated[static_cast<std::size_t>(at)];
    if (dora) {
      const auto magnitude =
          static_cast<float>(pair.magnitude.get(static_cast<std::int64_t>(group(at))));
      const float norm =
          round_float(std::sqrt(static_cast<float>(square[group(at)])), steps.update);
      value *= round_float(round_float(magnitude, steps.adapter) / norm, steps.update);
    }
    out.set(at, static_cast<double>(round_float(value, steps.sum)));
  }
  return out;
}

}  // namespace mg::test
