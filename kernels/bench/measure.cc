#include "kernels/bench/measure.h"

#include <algorithm>
#include <limits>
#include <vector>

#include "kernels/bench/clock.h"

namespace mg::bench {
namespace {

constexpr double kTurn = 2e-3;  // seconds: long beside the clock's and the threads' own time

/// Seconds of one call, from `calls` in a row.
double turn(const Clock& clock, const Placed& placed, std::int64_t calls) {
  if (!placed.reset) {
    return clock.seconds([&] {
      for (std::int64_t i = 0; i < calls; ++i) {
        placed.call();
      }
    }) / static_cast<double>(calls);
  }
  double total = 0;
  for (std::int64_t i = 0; i < calls; ++i) {
    placed.reset();
    total += clock.seconds(placed.call);
  }
  return total / static_cast<double>(calls);
}

std::int64_t calls_per_turn(const Clock& clock, const Placed& placed) {
  turn(clock, placed, 1);  // warm
  const double once = std::max(turn(clock, placed, 1), 1e-7);
  return std::max<std::int64_t>(1, static_cast<std::int64_t>(kTurn / once));
}

/// The same product by oneDNN, on operands of its own.
class Yardstick {
 public:
  explicit Yardstick(const GemmShape& shape)
      : shape_(shape),
        x_(static_cast<std::size_t>(shape.rows * shape.inputs), 0.5F),
        w_(static_cast<std::size_t>(shape.outputs * shape.inputs), 0.25F),
        out_(static_cast<std::size_t>(shape.rows * shape.outputs)) {}

  double turn(const Clock& clock, std::int64_t calls) {
    call();  // wakes its threads
    const double total = clock.seconds([&] {
      for (std::int64_t i = 0; i < calls; ++i) {
        call();
      }
    });
    settle();
    return total / static_cast<double>(calls);
  }

 private:
  void call() { yardstick_gemm(shape_, x_.data(), w_.data(), out_.data()); }

  GemmShape shape_;
  std::vector<float> x_;
  std::vector<float> w_;
  std::vector<float> out_;
};

double median(std::vector<double> values) {
  const auto middle = values.begin() + static_cast<std::ptrdiff_t>(values.size() / 2);
  std::nth_element(values.begin(), middle, values.end());
  return *middle;
}

}  // namespace

void measure(benchmark::State& state, const OperationCase& operation, Backend& backend,
             Peaks& peaks) {
  const Placed placed = operation.place(backend, 1);
  const Clock clock(backend.info().threads);
  const std::int64_t calls = calls_per_turn(clock, placed);
  std::optional<Yardstick> yardstick;
  if (operation.gemm && have_yardstick()) {
    yardstick.emplace(*operation.gemm);
  }
  std::vector<double> ratios;
  double fastest = std::numeric_limits<double>::infinity();
  double yardstick_fastest = fastest;
  for (auto _ : state) {
    const double own = turn(clock, placed, calls);
    fastest = std::min(fastest, own);
    if (yardstick) {
      const double other = yardstick->turn(clock, calls);
      yardstick_fastest = std::min(yardstick_fastest, other);
      ratios.push_back(other / own);
    }
    if (ratios.size() % 8 == 0) {
      peaks.measure();
    }
    state.SetIterationTime(own * static_cast<double>(calls));
  }
  if (operation.flops > 0) {
    state.counters["GFLOP/s"] = operation.flops / fastest * 1e-9;
    state.counters["of_flops"] = operation.flops / fastest / peaks.flops();
  }
  state.counters["GB/s"] = operation.bytes / fastest * 1e-9;
  state.counters["of_memory"] = operation.bytes / fastest / peaks.bytes();
  if (yardstick) {
    state.counters["oneDNN"] = operation.flops / yardstick_fastest * 1e-9;
    state.counters["of_oneDNN"] = median(ratios);
  }
}

}  // namespace mg::bench
