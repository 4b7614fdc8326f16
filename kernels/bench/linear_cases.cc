// Linear maps of a 135M model (H 576, I 1536, V 49152) and of a 7B one (H 4096, I 11008), from one
// token, where the weights' bytes bound it, to many, where multiplications do.
#include <fmt/format.h>

#include <algorithm>
#include <cmath>

#include "kernels/bench/operation.h"
#include "kernels/contract/tolerance.h"
#include "kernels/core/convert.h"

namespace mg::bench {
namespace {

using contract::Random;
using contract::StoredTensor;

/// sqrt of the sum of squares of each row.
template <typename Values>
std::vector<double> row_norms(const Values& values, std::int64_t cols) {
  std::vector<double> norms;
  double sum = 0;
  std::int64_t col = 0;
  for (const auto value : values) {
    sum += static_cast<double>(value) * static_cast<double>(value);
    if (++col == cols) {
      norms.push_back(std::sqrt(sum));
      sum = 0;
      col = 0;
    }
  }
  return norms;
}

/// Uniform values: contract::random_tensor's normal ones take a second for a head's matrix.
StoredTensor uniform_tensor(Random& random, DType dtype, const Shape& shape) {
  StoredTensor tensor{dtype, shape, {}};
  const auto width = static_cast<std::size_t>(dtype_bits(dtype) / 8);
  const auto n = static_cast<std::size_t>(element_count(shape).value_or(0));
  tensor.bytes.resize(1 + n * width);
  for (std::size_t i = 0; i < n; ++i) {
    const auto value = static_cast<float>(random.uniform(-0.1, 0.1));
    narrow_from_float(dtype, &value, 1, tensor.bytes.data() + 1 + i * width);
  }
  return tensor;
}

struct LinearInputs {
  std::vector<float> x;
  StoredTensor weight;
  std::vector<double> x_norm;  // of the rows that the oracle computes
  std::vector<double> w_norm;
};

std::shared_ptr<const LinearInputs> linear_inputs(const GemmShape& shape, DType dtype,
                                                  std::int64_t every) {
  Random random(11);
  auto in = std::make_shared<LinearInputs>();
  in->x.resize(static_cast<std::size_t>(shape.rows * shape.inputs));
  std::generate(in->x.begin(), in->x.end(),
                [&] { return static_cast<float>(random.uniform(-2, 2)); });
  in->weight = uniform_tensor(random, dtype, {shape.outputs, shape.inputs});
  in->x_norm = row_norms(every_row(in->x, shape.inputs, every), shape.inputs);
  in->w_norm = row_norms(in->weight.values(), shape.inputs);
  return in;
}

/// Inputs are made when a case is first run, and shared by its closures while one of them lives.
template <typename Inputs>
using Lazy = std::function<std::shared_ptr<const Inputs>()>;

template <typename Inputs, typename Make>
Lazy<Inputs> lazily(Make make) {
  auto kept = std::make_shared<std::weak_ptr<const Inputs>>();
  return [kept, make] {
    std::shared_ptr<const Inputs> inputs = kept->lock();
    if (inputs == nullptr) {
      inputs = make();
      *kept = inputs;
    }
    return inputs;
  };
}

OperationCase linear_case(const std::string& what, const GemmShape& shape, DType dtype) {
  OperationCase c;
  c.name = fmt::format("linear/{} K{} M{} {}/T:{}", what, shape.inputs, shape.outputs,
                       dtype_name(dtype), shape.rows);
  c.flops = shape.flops();
  c.bytes = 4.0 * static_cast<double>(shape.rows * (shape.inputs + shape.outputs)) +
            static_cast<double>(shape.inputs * shape.outputs * dtype_bits(dtype) / 8);
  c.cols = shape.outputs;
  // The oracle multiplies in double on one thread: some 10^8 multiply-adds are enough.
  c.every = std::max<std::int64_t>(1, static_cast<std::int64_t>(shape.flops() / 3e8));
  c.gemm = shape;
  const Lazy<LinearInputs> inputs = lazily<LinearInputs>(
      [shape, dtype, every = c.every] { return linear_inputs(shape, dtype, every); });
  c.place = [shape, inputs](Backend& backend, std::int64_t every) {
    const std::shared_ptr<const LinearInputs> in = inputs();
    auto memory = std::make_shared<Memory>(backend);
    const std::vector<float> x = every_row(in->x, shape.inputs, every);
    const std::int64_t rows = (shape.rows + every - 1) / every;
    const Mat source = memory->put(x, rows, shape.inputs);
    const Mat out = memory->room(rows, shape.outputs);
    return Placed{
        {},
        [&backend, in, source, out] { backend.linear(source, {in->weight.view()}, {}, out); },
        [memory, out] { return memory->get(out); }};
  };
  c.allowed = [shape, inputs](std::size_t i, double expected) {
    const std::shared_ptr<const LinearInputs> in = inputs();
    const auto cols = static_cast<std::size_t>(shape.outputs);
    // sum |x| |w| <= |x| |w| (Cauchy and Schwarz)
    return contract::linear(Arithmetic::kExact, shape.inputs, expected,
                            in->x_norm[i / cols] * in->w_norm[i % cols]);
  };
  return c;
}

OperationCase low_rank_case(const GemmShape& shape, std::int64_t rank) {
  OperationCase c;
  c.name =
      fmt::format("low_rank/K{} M{} R{} F16/T:{}", shape.inputs, shape.outputs, rank, shape.rows);
  const auto rows = static_cast<double>(shape.rows);
  const auto both = static_cast<double>(shape.inputs + shape.outputs);
  c.flops =
      2 * rows * static_cast<double>(rank) * both + 2 * rows * static_cast<double>(shape.outputs);
  c.bytes =
      4 * rows * (both + static_cast<double>(shape.outputs)) + 2 * static_cast<double>(rank) * both;
  c.cols = shape.outputs;
  constexpr double kScale = 2.0;
  struct Inputs {
    std::vector<float> x, y;
    StoredTensor a, b;
    double largest = 0;  // of sum |x| |A| carried through |B| and the scale
  };
  const Lazy<Inputs> inputs = lazily<Inputs>([shape, rank] {
    Random random(12);
    auto in = std::make_shared<Inputs>();
    in->x = random.normals(shape.rows * shape.inputs);
    in->y = random.normals(shape.rows * shape.outputs);
    in->a = contract::random_tensor(random, DType::kF16, {rank, shape.inputs}, 0.05);
    in->b = contract::random_tensor(random, DType::kF16, {shape.outputs, rank}, 0.05);
    const auto most = [](const std::vector<double>& v) {
      return *std::max_element(v.begin(), v.end());
    };
    double down = 0;  // largest norm of (|x| |A|), by rows of A
    for (const double norm : row_norms(in->a.values(), shape.inputs)) {
      down += norm * norm;
    }
    in->largest = kScale * most(row_norms(in->x, shape.inputs)) * std::sqrt(down) *
                  most(row_norms(in->b.values(), rank));
    return in;
  });
  c.place = [shape, inputs](Backend& backend, std::int64_t) {
    const std::shared_ptr<const Inputs> in = inputs();
    auto memory = std::make_shared<Memory>(backend);
    const Mat x = memory->put(in->x, shape.rows, shape.inputs);
    const Mat y = memory->room(shape.rows, shape.outputs);
    return Placed{
        [&backend, in, y] { backend.upload(in->y, y); },
        [&backend, in, x, y] { backend.low_rank(x, in->a.view(), in->b.view(), kScale, y); },
        [memory, y] { return memory->get(y); }};
  };
  c.allowed = [shape, rank, inputs](std::size_t i, double expected) {
    const std::shared_ptr<const Inputs> in = inputs();
    return contract::low_rank(Arithmetic::kExact, shape.inputs, rank, expected, in->largest,
                              std::fabs(static_cast<double>(in->y[i])));
  };
  return c;
}

}  // namespace

void add_linear_cases(OperationCases& cases) {
  struct Matrix {
    const char* name;
    std::int64_t inputs, outputs;
  };
  for (const Matrix& m : {Matrix{"q", 576, 576}, Matrix{"k", 576, 192}, Matrix{"gate", 576, 1536},
                          Matrix{"down", 1536, 576}, Matrix{"head", 576, 49152}}) {
    for (const std::int64_t rows : {1, 64, 512, 1024, 2048}) {
      if (m.outputs < 10000 || rows <= 512) {
        cases.push_back(linear_case(m.name, {rows, m.inputs, m.outputs}, DType::kF16));
      }
    }
  }
  for (const DType dtype : {DType::kBF16, DType::kF32}) {
    cases.push_back(linear_case("gate", {1024, 576, 1536}, dtype));
  }
  for (const std::int64_t rows : {1, 512}) {
    cases.push_back(linear_case("7B q", {rows, 4096, 4096}, DType::kF16));
    cases.push_back(linear_case("7B down", {rows, 11008, 4096}, DType::kF16));
  }
  cases.push_back(low_rank_case({1, 576, 576}, 16));
  cases.push_back(low_rank_case({1024, 576, 576}, 16));
  cases.push_back(low_rank_case({1024, 576, 1536}, 16));
  cases.push_back(low_rank_case({1024, 1536, 576}, 16));
}

}  // namespace mg::bench
