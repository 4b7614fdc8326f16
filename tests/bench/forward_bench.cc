// The whole forward pass against oneDNN's FP32 GEMM at the same shapes.
//
//   forward_bench [--model=FOLDER] [--threads=N] [Google Benchmark's flags]
//
// Without a folder: a synthetic model of SmolLM2-135M's shape.  The time of a forward pass (all of
// it: embedding, norms, attention, activations, head) is held against the time that oneDNN alone
// takes for the linear maps, on FP32 weights that it finds ready in memory.  Counters:
//   of_oneDNN       oneDNN's time for all products of a pass, those of attention (what a query sees
//                   of them) counted at the rate of the linear maps / time of the whole pass
//   linear_alone    the same without attention's: a long prompt is charged for its own products
// First checks that logits of a few tokens agree with the oracle's.
#include <benchmark/benchmark.h>
#include <fmt/format.h>
#include <unistd.h>

#include <algorithm>
#include <charconv>
#include <cmath>
#include <filesystem>
#include <limits>
#include <map>
#include <memory>
#include <optional>
#include <string_view>
#include <vector>

#include "harness/lanes/checkpoint_source.h"
#include "harness/lanes/lockstep.h"
#include "harness/run/models.h"
#include "kernels/bench/clock.h"
#include "kernels/bench/yardstick.h"
#include "kernels/registry.h"
#include "tests/bench/synthetic_model.h"

namespace mg::bench {
namespace {

/// Keeps the last row's logits; other work of an observer is not the forward pass's.
class LastRow final : public Observer {
 public:
  void logits(const LogitChunk& rows) override {
    const auto vocab = static_cast<std::size_t>(rows.vocab[0]);
    const std::span<const float> last = rows.lanes[0].last(vocab);
    row.assign(last.begin(), last.end());
  }
  std::vector<float> row;
};

Batch random_batch(std::int64_t prompts, std::int64_t tokens, std::int64_t vocabulary) {
  Batch batch;
  std::uint64_t state = 7;
  for (std::int64_t p = 0; p < prompts; ++p) {
    std::vector<std::int32_t> ids;
    for (std::int64_t t = 0; t < tokens; ++t) {
      state = state * 6364136223846793005ULL + 1442695040888963407ULL;
      ids.push_back(
          static_cast<std::int32_t>((state >> 33) % static_cast<std::uint64_t>(vocabulary)));
    }
    batch.add("p" + std::to_string(p), ids);
  }
  return batch;
}

/// Every linear map of a pass, with how often it is applied.
std::map<std::pair<std::int64_t, std::int64_t>, std::int64_t> maps_of(CheckpointSource& source) {
  std::map<std::pair<std::int64_t, std::int64_t>, std::int64_t> maps;  // {inputs, outputs}
  const auto count = [&maps](const Linear& linear) {
    if (!linear.empty()) {
      ++maps[{linear.weight.inputs(), linear.weight.outputs()}];
    }
  };
  for (std::int64_t l = 0; l < source.config().num_hidden_layers; ++l) {
    const LayerWeights& w = source.layer(l);
    for (const Linear* linear :
         {&w.q, &w.k, &w.v, &w.qkv, &w.o, &w.gate, &w.up, &w.gate_up, &w.down}) {
      count(*linear);
    }
    source.release_layer(l);
  }
  count(source.globals().lm_head);
  return maps;
}

struct Yardstick {
  double seconds = 0;  // of all products of one pass, one after the other
  double flops = 0;
};

/// oneDNN's time for the products of one pass on `rows` rows, as often as the pass has them, timed
/// as one piece: what disturbs a pass of seconds disturbs this as well, where the best time of each
/// product by itself would be of undisturbed moments only.  A head's logits come in pieces of at
/// most 64 MB.  Each shape's weights are one matrix, so they are in the caches more often than the
/// pass's own.
Yardstick yardstick(const Clock& clock,
                    const std::map<std::pair<std::int64_t, std::int64_t>, std::int64_t>& maps,
                    std::int64_t rows) {
  constexpr std::int64_t kElements = std::int64_t{16} << 20;
  Yardstick all;
  for (const auto& [map, count] : maps) {
    const auto [inputs, outputs] = map;
    const std::int64_t step = std::min(rows, kElements / outputs);
    const std::vector<float> x(static_cast<std::size_t>(rows * inputs), 0.5F);
    const std::vector<float> w(static_cast<std::size_t>(outputs * inputs), 0.25F);
    std::vector<float> out(static_cast<std::size_t>(step * outputs));
    all.seconds += clock.seconds([&] {
      for (std::int64_t i = 0; i < count; ++i) {
        for (std::int64_t row = 0; row < rows; row += step) {
          const GemmShape shape{std::min(step, rows - row), inputs, outputs};
          yardstick_gemm(shape, x.data() + row * inputs, w.data(), out.data());
        }
      }
    });
    const GemmShape whole{rows, inputs, outputs};
    all.flops += whole.flops() * static_cast<double>(count);
  }
  settle();
  return all;
}

/// Multiply-adds of attention's two products, as flops.
double attention_flops(const ModelConfig& config, const Batch& batch) {
  double pairs = 0;
  for (const BatchPrompt& prompt : batch.prompts) {
    pairs += 0.5 * static_cast<double>(prompt.length) * static_cast<double>(prompt.length + 1);
  }
  return 4 * pairs * static_cast<double>(config.num_attention_heads * config.head_dim) *
         static_cast<double>(config.num_hidden_layers);
}

class Forward {
 public:
  Forward(const std::filesystem::path& folder, ThreadPool& pool)
      : pool_(pool),
        model_(folder),
        source_(model_.checkpoint, model_.model),
        backend_(make_backend("cpu", {.pool = &pool, .isa = {}})) {}

  CheckpointSource& source() { return source_; }
  const Backend& backend() const { return *backend_; }
  const ModelConfig& config() const { return source_.config(); }

  std::vector<float> run(const Batch& batch, Backend& backend) {
    LastRow last;
    const Lane lane{"model", &source_, &backend};
    run_lockstep(pool_, std::span(&lane, 1), batch, {}, last);
    return last.row;
  }
  std::vector<float> run(const Batch& batch) { return run(batch, *backend_); }

  /// Whether the last logits of a short prompt lie where the oracle has them.  Single values of
  /// FP32 logits err by some 1e-6 of their size after 30 layers; a wrong operation by all of it.
  std::string check() {
    const Batch batch = random_batch(1, 20, config().vocab_size);
    const auto oracle = make_backend("reference", {.pool = &pool_, .isa = {}});
    const std::vector<float> expected = run(batch, *oracle);
    const std::vector<float> actual = run(batch);
    double largest = 0;
    double error = 0;
    for (std::size_t i = 0; i < expected.size(); ++i) {
      const double e = std::fabs(static_cast<double>(expected[i]) - static_cast<double>(actual[i]));
      error = e <= error ? error : e;  // a NaN is taken over
      largest = std::max(largest, std::fabs(static_cast<double>(expected[i])));
    }
    return error <= 1e-4 * largest
               ? ""
               : fmt::format("logits differ from the oracle's by {} of {}", error, largest);
  }

 private:
  ThreadPool& pool_;
  OpenModel model_;
  CheckpointSource source_;
  std::unique_ptr<Backend> backend_;
};

void measure(benchmark::State& state, Forward& forward, std::int64_t prompts, std::int64_t tokens) {
  const Batch batch = random_batch(prompts, tokens, forward.config().vocab_size);
  const auto maps = maps_of(forward.source());
  const Clock clock(forward.backend().info().threads);
  double fastest = std::numeric_limits<double>::infinity();
  Yardstick yard{.seconds = std::numeric_limits<double>::infinity(), .flops = 0};
  for (auto _ : state) {
    if (have_yardstick()) {
      const Yardstick now = yardstick(clock, maps, std::min<std::int64_t>(batch.tokens(), 1024));
      yard = now.seconds < yard.seconds ? now : yard;
    }
    const double seconds = clock.seconds([&] { benchmark::DoNotOptimize(forward.run(batch)); });
    fastest = std::min(fastest, seconds);
    state.SetIterationTime(seconds);
  }
  state.counters["tokens/s"] = static_cast<double>(batch.tokens()) / fastest;
  if (have_yardstick()) {
    const double rows = static_cast<double>(std::min<std::int64_t>(batch.tokens(), 1024));
    const double flops = yard.flops * static_cast<double>(batch.tokens()) / rows;
    const double rate = yard.flops / yard.seconds;
    state.counters["GFLOP/s"] = flops / fastest * 1e-9;
    state.counters["oneDNN"] = rate * 1e-9;
    state.counters["of_oneDNN"] =
        (flops + attention_flops(forward.config(), batch)) / fastest / rate;
    state.counters["linear_alone"] = flops / fastest / rate;
  }
}

struct Flags {
  std::filesystem::path model;
  int threads = 0;
};

Flags take_flags(int& argc, char** argv) {
  Flags flags;
  int kept = 1;
  for (int i = 1; i < argc; ++i) {
    const std::string_view argument = argv[i];
    if (argument.starts_with("--model=")) {
      flags.model = argument.substr(8);
    } else if (argument.starts_with("--threads=")) {
      std::from_chars(argument.data() + 10, argument.data() + argument.size(), flags.threads);
    } else {
      argv[kept++] = argv[i];
    }
  }
  argc = kept;
  return flags;
}

int run(int argc, char** argv) {
  const Flags flags = take_flags(argc, argv);
  benchmark::Initialize(&argc, argv);
  if (benchmark::ReportUnrecognizedArguments(argc, argv)) {
    return 2;
  }
  const std::filesystem::path made =
      std::filesystem::temp_directory_path() / fmt::format("forward_bench.{}", getpid());
  if (flags.model.empty()) {
    test::write_synthetic_base(made, {});
  }
  ThreadPool pool(flags.threads);
  set_yardstick_threads(pool.threads());
  int failures = 0;
  {
    Forward forward(flags.model.empty() ? made : flags.model, pool);
    const std::string wrong = forward.check();
    failures = wrong.empty() ? 0 : 1;
    for (const auto& [prompts, tokens] :
         {std::pair<std::int64_t, std::int64_t>{4, 128}, {8, 128}, {1, 1024}}) {
      benchmark::RegisterBenchmark(
          fmt::format("forward/T:{}x{}", prompts, tokens).c_str(),
          [&forward, &wrong, p = prompts, t = tokens](benchmark::State& state) {
            if (!wrong.empty()) {
              state.SkipWithError(wrong.c_str());
              return;
            }
            measure(state, forward, p, t);
          })
          ->UseManualTime()
          ->Unit(benchmark::kMillisecond)
          ->Iterations(5);
    }
    const BackendInfo info = forward.backend().info();
    benchmark::AddCustomContext("cpu backend",
                                fmt::format("{}, {} threads", info.isa, info.threads));
    benchmark::RunSpecifiedBenchmarks();
  }
  std::filesystem::remove_all(made);
  return failures;
}

}  // namespace
}  // namespace mg::bench

int main(int argc, char** argv) {
  return mg::bench::run(argc, argv);
}
