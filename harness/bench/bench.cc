#include "harness/bench/bench.h"

#include <benchmark/benchmark.h>
#include <fmt/format.h>
#include <unistd.h>

#include <algorithm>
#include <cstdio>
#include <numeric>
#include <sstream>

#include "harness/bench/cost.h"
#include "harness/bench/product_peak.h"
#include "harness/bench/workload.h"
#include "kernels/bench/peaks.h"
#include "kernels/core/error.h"

namespace mg {
namespace {

/// Memory of this process that is no file's.
std::uint64_t anonymous_memory() {
  std::FILE* statm = std::fopen("/proc/self/statm", "re");
  if (statm == nullptr) {
    return 0;
  }
  unsigned long resident = 0;
  unsigned long of_files = 0;
  const int fields = std::fscanf(statm, "%*u %lu %lu", &resident, &of_files);
  std::fclose(statm);
  const auto page = static_cast<std::uint64_t>(::sysconf(_SC_PAGESIZE));
  return fields == 2 && resident > of_files ? (resident - of_files) * page : 0;
}

/// Starts Google Benchmark on its flags.
void initialise(const std::vector<std::string>& flags) {
  std::vector<std::string> words{"mergegauge bench"};
  words.insert(words.end(), flags.begin(), flags.end());
  std::vector<char*> arguments;
  for (std::string& word : words) {
    arguments.push_back(word.data());
  }
  auto count = static_cast<int>(arguments.size());
  arguments.push_back(nullptr);
  benchmark::Initialize(&count, arguments.data());
  if (count > 1) {
    throw Error({.code = "bench.flags",
                 .what = "Google Benchmark does not know a flag",
                 .where = {},
                 .expected = "--benchmark_filter=..., --benchmark_repetitions=..., ...",
                 .actual = arguments[1],
                 .hint = "what stands after -- goes to Google Benchmark"},
                ErrorKind::kUsage);
  }
}

/// Lanes of one contestant share the base's matrices and a batch: each of the others adds its own
/// pairs to what is kept, and to what a step reads.
std::uint64_t further_adapters_bytes(const BenchLane& lane) {
  std::uint64_t bytes = 0;
  for (std::size_t i = 1; i < lane.sources.size(); ++i) {
    bytes += weight_bytes(*lane.sources[i]).low_rank;
  }
  return bytes;
}

class Bench {
 public:
  Bench(Backend& backend, const std::vector<BenchLane>& lanes, const std::vector<BenchPair>& pairs,
        const BenchOptions& options, ThreadPool& pool, const std::function<void(double)>& progress)
      : backend_(backend),
        lanes_(lanes),
        pairs_(pairs),
        options_(options),
        progress_(progress),
        clock_(options.clock ? options.clock : wall_clock()),
        product_peak_(backend),
        memory_peak_(backend.info().isa, pool) {
    run_.result.margin = options.margin;
    for (const BenchLane& lane : lanes_) {
      BenchMemory memory;
      memory.lane = lane.name;
      const WeightBytes bytes = weight_bytes(*lane.sources.front());
      memory.weight_bytes = bytes.all + further_adapters_bytes(lane);
      memory.decoded_bytes = bytes.decoded;
      memory.load_s = lane.load_s;
      run_.result.memory.push_back(memory);
    }
  }

  BenchRun run() {
    initialise(options_.google_flags);
    for (const BenchSetting& setting : options_.settings) {
      if (fits(setting)) {
        const std::string name =
            fmt::format("{}/{}/{}", setting.phase, setting.length, setting.batch);
        benchmark::RegisterBenchmark(
            name.c_str(), [this, setting](benchmark::State& state) { measure(state, setting); })
            ->Iterations(options_.rounds)
            ->UseManualTime()
            ->Unit(benchmark::kMillisecond);
      }
    }
    std::ostringstream json;
    benchmark::JSONReporter reporter;
    reporter.SetOutputStream(&json);
    std::ostringstream complaints;  // "no benchmark matches the filter": the result is empty then
    reporter.SetErrorStream(&complaints);
    benchmark::RunSpecifiedBenchmarks(&reporter);
    benchmark::ClearRegisteredBenchmarks();
    if (failure_) {
      std::rethrow_exception(failure_);
    }
    run_.google_json = json.str();
    run_.result.peak_flops = product_peak_.flops();
    if (on_host()) {
      run_.result.peak_bytes = memory_peak_.bytes();
    }
    for (BenchRate& rate : run_.result.rates) {
      share_of_peaks(rate);
    }
    return std::move(run_);
  }

 private:
  bool fits(const BenchSetting& setting) {
    std::uint64_t bytes = 0;
    for (const BenchLane& lane : lanes_) {
      bytes += Workload::cache_bytes_of(lane, setting, options_.decode_steps);
    }
    const ModelConfig& config = lanes_.front().sources.front()->config();
    const std::int64_t tokens =
        setting.length + (setting.phase == "decode" ? options_.decode_steps : 0);
    const bool too_long = tokens > config.max_position_embeddings;
    if (bytes <= options_.cache_limit && !too_long) {
      return true;
    }
    run_.findings.push_back(
        {.rule = "bench.left-out",
         .catalogue = {},
         .severity = Severity::kNote,
         .command = "bench",
         .subject = fmt::format("{}, {} tokens x {}", setting.phase, setting.length, setting.batch),
         .message = too_long ? "a setting was left out: it is longer than the model's context"
                             : "a setting was left out: the lanes' caches would not fit",
         .expected = too_long ? fmt::format("{} tokens at most", config.max_position_embeddings)
                              : fmt::format("{} bytes at most", options_.cache_limit),
         .actual = too_long ? fmt::format("{} tokens", tokens) : fmt::format("{} bytes", bytes),
         .fix = std::nullopt});
    return false;
  }

  /// One setting; Google Benchmark's iterations are the rounds.  Nothing may be thrown through it.
  void measure(benchmark::State& state, const BenchSetting& setting) {
    try {
      measure_rounds(state, setting);
    } catch (...) {
      failure_ = std::current_exception();
      state.SkipWithError("an error ended the run");
    }
  }

  /// A lane's part in one setting.
  struct Contestant {
    std::size_t lane = 0;
    std::unique_ptr<Workload> work;
    std::vector<double> seconds;  // of each round
  };

  /// Several adapters share a batch that they can divide, and no other.
  std::vector<Contestant> contestants(const BenchSetting& setting) {
    std::vector<Contestant> all;
    for (std::size_t lane = 0; lane < lanes_.size(); ++lane) {
      if (setting.batch % static_cast<std::int64_t>(lanes_[lane].sources.size()) != 0) {
        continue;
      }
      const std::uint64_t before = anonymous_memory();
      all.push_back(
          {lane,
           std::make_unique<Workload>(backend_, lanes_[lane], setting, options_.decode_steps),
           {}});
      all.back().work->turn();  // warms caches; what it allocates is the lane's
      BenchMemory& memory = run_.result.memory[lane];
      const std::uint64_t after = anonymous_memory();
      memory.peak_bytes = std::max(memory.peak_bytes, after > before ? after - before : 0);
      memory.cache_bytes = std::max(memory.cache_bytes, all.back().work->cache_bytes());
    }
    return all;
  }

  void measure_rounds(benchmark::State& state, const BenchSetting& setting) {
    std::vector<Contestant> all = contestants(setting);
    std::vector<BenchTurn> turns;
    for (const Contestant& each : all) {
      turns.push_back([this, &each] {
        if (options_.before_turn) {
          options_.before_turn(lanes_[each.lane].name);
        }
        each.work->turn();
      });
    }
    run_round(turns, clock_);  // dropped
    std::size_t round = 0;
    for (auto _ : state) {
      const std::vector<double> seconds = run_round(turns, clock_, ++round);
      for (std::size_t i = 0; i < all.size(); ++i) {
        all[i].seconds.push_back(seconds[i]);
      }
      state.SetIterationTime(std::accumulate(seconds.begin(), seconds.end(), 0.0));
      product_peak_.measure();
      memory_peak_.measure();
      const double share = static_cast<double>(round) / static_cast<double>(options_.rounds);
      progress_((static_cast<double>(done_) + share) /
                static_cast<double>(options_.settings.size()));
    }
    ++done_;
    for (const Contestant& each : all) {
      record_rate(state, setting, each);
    }
    for (const BenchPair& pair : pairs_) {
      record_ratio(state, setting, pair, all);
    }
  }

  void record_rate(benchmark::State& state, const BenchSetting& setting, const Contestant& each) {
    // A lane takes two turns in a round.
    BenchRate rate = rate_of(each.seconds, 2 * each.work->tokens(), options_.bootstrap);
    rate.phase = setting.phase;
    rate.lane = lanes_[each.lane].name;
    rate.length = setting.length;
    rate.batch = setting.batch;
    WeightSource& source = *lanes_[each.lane].sources.front();
    const WorkCost cost = setting.phase == "decode"
                              ? decode_cost(source, setting.length, setting.batch)
                              : prefill_cost(source, setting.length, setting.batch);
    rate.flops = cost.flops;
    rate.bytes = cost.bytes + static_cast<double>(further_adapters_bytes(lanes_[each.lane]));
    if (rate.tokens_per_s) {
      state.counters[rate.lane + " tokens/s"] = *rate.tokens_per_s;
      BenchMemory& memory = run_.result.memory[each.lane];
      if (setting.phase == "prefill" && setting.batch == 1 &&
          setting.length > memory.first_token_length) {
        memory.first_token_length = setting.length;
        memory.first_token_s = static_cast<double>(setting.length) / *rate.tokens_per_s;
      }
    }
    run_.result.rates.push_back(std::move(rate));
  }

  void record_ratio(benchmark::State& state, const BenchSetting& setting, const BenchPair& pair,
                    const std::vector<Contestant>& all) {
    const auto find = [&](const std::string& name) {
      return std::find_if(all.begin(), all.end(),
                          [&](const Contestant& each) { return lanes_[each.lane].name == name; });
    };
    const auto reference = find(pair.reference);
    const auto subject = find(pair.subject);
    if (reference == all.end() || subject == all.end()) {
      return;
    }
    BenchRatio ratio =
        ratio_of(reference->seconds, subject->seconds, options_.margin, options_.bootstrap);
    ratio.phase = setting.phase;
    ratio.reference = pair.reference;
    ratio.subject = pair.subject;
    ratio.length = setting.length;
    ratio.batch = setting.batch;
    if (ratio.value) {
      state.counters[pair.subject + " / " + pair.reference] = *ratio.value;
    }
    run_.result.ratios.push_back(std::move(ratio));
  }

  /// Whether weights are read from the memory that memory_peak_ measures: a backend with statistics
  /// of its own keeps its rows, and what it multiplies them with, on a device.
  bool on_host() const { return backend_.row_statistics() == nullptr; }

  void share_of_peaks(BenchRate& rate) const {
    if (!rate.tokens_per_s) {
      return;
    }
    const auto batch = static_cast<double>(rate.batch);
    const double tokens = rate.phase == "decode" ? batch : batch * static_cast<double>(rate.length);
    const double calls = *rate.tokens_per_s / tokens;  // per second
    rate.of_flops = rate.flops * calls / product_peak_.flops();
    if (on_host()) {
      rate.of_memory = rate.bytes * calls / memory_peak_.bytes();
    }
  }

  Backend& backend_;
  const std::vector<BenchLane>& lanes_;
  const std::vector<BenchPair>& pairs_;
  const BenchOptions& options_;
  const std::function<void(double)>& progress_;
  BenchClock clock_;
  ProductPeak product_peak_;
  bench::Peaks memory_peak_;
  std::size_t done_ = 0;  // settings
  std::exception_ptr failure_;
  BenchRun run_;
};

}  // namespace

BenchRun run_bench(Backend& backend, const std::vector<BenchLane>& lanes,
                   const std::vector<BenchPair>& pairs, const BenchOptions& options,
                   ThreadPool& pool, const std::function<void(double)>& progress) {
  MG_CHECK(!lanes.empty(), "there is a lane to measure");
  return Bench(backend, lanes, pairs, options, pool, progress).run();
}

}  // namespace mg
