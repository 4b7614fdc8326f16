#include "harness/run/token_logprobs.h"

#include <algorithm>
#include <cmath>
#include <functional>
#include <limits>
#include <memory>
#include <mutex>
#include <span>

#include "harness/lanes/lockstep.h"
#include "kernels/core/error.h"
#include "kernels/registry.h"

namespace mg {
namespace {

/// log(sum(exp(row))), in double; not finite where a logit is not.
double log_sum_exp(std::span<const float> row) {
  double highest = -std::numeric_limits<double>::infinity();
  for (const float logit : row) {
    if (!std::isfinite(logit)) {
      return std::numeric_limits<double>::quiet_NaN();
    }
    highest = std::max(highest, static_cast<double>(logit));
  }
  double sum = 0;
  for (const float logit : row) {
    sum += std::exp(static_cast<double>(logit) - highest);
  }
  return highest + std::log(sum);
}

/// The `count`-th largest of finite numbers.
float nth_largest(std::span<const float> row, std::int64_t count, std::vector<float>& scratch) {
  scratch.assign(row.begin(), row.end());
  const auto place = scratch.begin() + std::min(count, std::ssize(scratch)) - 1;
  std::nth_element(scratch.begin(), place, scratch.end(), std::greater<>());
  return *place;
}

class AskedRows final : public Observer {
 public:
  AskedRows(const Batch& batch, const std::vector<LogprobQuery>& queries, std::int64_t top,
            const std::function<void(double)>& progress)
      : batch_(batch), queries_(queries), top_(top), progress_(progress) {
    for (const LogprobQuery& query : queries) {
      answers_.emplace_back(query.wanted.size());
    }
  }

  void logits(const LogitChunk& chunk) override {
    const std::lock_guard lock(mutex_);  // several devices bring rows at once
    for (std::int64_t row = chunk.first_row; row < chunk.first_row + chunk.rows; ++row) {
      const auto after = std::upper_bound(
          batch_.prompts.begin(), batch_.prompts.end(), row,
          [](std::int64_t value, const BatchPrompt& prompt) { return value < prompt.begin; });
      const auto prompt = static_cast<std::size_t>(after - batch_.prompts.begin() - 1);
      const LogprobQuery& query = queries_[prompt];
      const std::int64_t step = row - batch_.prompts[prompt].begin - query.first;
      if (step >= 0 && step < std::ssize(query.wanted)) {
        const auto place = static_cast<std::size_t>(step);
        answer(chunk, row - chunk.first_row, query.wanted[place], answers_[prompt][place]);
      }
    }
  }
  void progress(double done) override { progress_(done); }

  std::vector<std::vector<LogprobRow>> take() { return std::move(answers_); }

 private:
  static std::span<const float> row_of(const LogitChunk& chunk, std::size_t lane,
                                       std::int64_t row) {
    const auto vocab = static_cast<std::size_t>(chunk.vocab[lane]);
    return chunk.lanes[lane].subspan(static_cast<std::size_t>(row) * vocab, vocab);
  }

  void answer(const LogitChunk& chunk, std::int64_t row, const std::vector<std::int32_t>& wanted,
              LogprobRow& out) {
    const std::span<const float> exact = row_of(chunk, 0, row);
    const std::span<const float> rounded = row_of(chunk, 1, row);
    const double exact_sum = log_sum_exp(exact);
    const double rounded_sum = log_sum_exp(rounded);
    out.finite = std::isfinite(exact_sum);
    if (!out.finite) {
      return;
    }
    out.top =
        static_cast<std::int32_t>(std::max_element(exact.begin(), exact.end()) - exact.begin());
    const float least = nth_largest(exact, top_, scratch_);
    for (const std::int32_t id : wanted) {
      MG_CHECK(id >= 0 && id < std::ssize(exact), "ids lie in the vocabulary");
      const auto at = static_cast<std::size_t>(id);
      out.exact.push_back(static_cast<double>(exact[at]) - exact_sum);
      out.rounded.push_back(static_cast<double>(rounded[at]) - rounded_sum);
      out.in_top.push_back(exact[at] >= least);
    }
  }

  const Batch& batch_;
  const std::vector<LogprobQuery>& queries_;
  std::int64_t top_;
  const std::function<void(double)>& progress_;
  std::mutex mutex_;
  std::vector<float> scratch_;
  std::vector<std::vector<LogprobRow>> answers_;
};

}  // namespace

std::vector<std::vector<LogprobRow>> token_logprobs(WeightSource& source,
                                                    const EngineOptions& engine, Arithmetic rounded,
                                                    const std::vector<LogprobQuery>& queries,
                                                    std::int64_t top, ThreadPool& pool,
                                                    const std::function<void(double)>& progress) {
  MG_CHECK(top > 0, "there is a likeliest token");
  Batch batch;
  for (const LogprobQuery& query : queries) {
    batch.add(query.prompt, query.ids);
  }
  AskedRows rows(batch, queries, top, progress);
  if (queries.empty()) {
    return rows.take();
  }
  const auto backend = [&](Arithmetic arithmetic) {
    return make_backend(engine.backend,
                        {.arithmetic = arithmetic, .pool = &pool, .isa = engine.isa});
  };
  const std::unique_ptr<Backend> exact = backend(Arithmetic::kExact);
  const std::unique_ptr<Backend> served = backend(rounded);
  const std::vector<Lane> lanes{{"exact", &source, exact.get()},
                                {"as-served", &source, served.get()}};
  run_lockstep(pool, lanes, batch, {}, rows);
  return rows.take();
}

}  // namespace mg
