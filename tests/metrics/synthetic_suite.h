// A small suite of random logits for tests of everything above the row kernel.
#pragma once

#include <functional>
#include <random>
#include <string>
#include <vector>

#include "harness/metrics/accumulator.h"
#include "harness/metrics/summary.h"
#include "tests/metrics/row_oracle.h"

namespace mg::test {

/// All rows of one lane, packed: [rows * V].
using LaneLogits = std::vector<float>;

struct SyntheticSuite {
  std::int64_t prompts = 24;
  std::int64_t T = 8;
  std::int64_t V = 40;
  LaneLogits base;
  LaneLogits reference;

  explicit SyntheticSuite(std::int64_t prompt_count = 24, std::int64_t rows = 8,
                          std::int64_t vocabulary = 40, unsigned seed = 1,
                          float adapter_effect = 0.5F)
      : prompts(prompt_count), T(rows), V(vocabulary) {
    std::mt19937_64 random(seed);
    base = random_row(prompts * T * V, random);
    reference = with_noise(base, adapter_effect, random);
  }

  std::int64_t rows() const { return prompts * T; }

  /// Prompt "p<i>"; the given tokens are drawn by a fixed rule.
  RowLayout layout() const {
    std::vector<PromptRows> out;
    for (std::int64_t p = 0; p < prompts; ++p) {
      std::vector<std::int32_t> ids;
      for (std::int64_t t = 0; t < T; ++t) {
        ids.push_back(static_cast<std::int32_t>((p * 7 + t * 3) % V));
      }
      std::string id = std::to_string(p);
      id.insert(0, 1, 'p');
      out.push_back({id, T, next_tokens_of(ids)});
    }
    return RowLayout(out);
  }

  float& at(LaneLogits& lane, std::int64_t row, std::int64_t v) const {
    return lane[static_cast<std::size_t>(row * V + v)];
  }

  /// Lanes base, adapter, merged; one pair adapter/merged with the base.
  MetricAccumulator accumulate(const LaneLogits& subject, std::int64_t chunk = 1 << 20,
                               int threads = 1) const {
    MetricAccumulator out(layout(), V, {"base", "adapter", "merged"}, {{1, 2, 0}});
    ThreadPool pool(threads);
    for (std::int64_t first = 0; first < rows(); first += chunk) {
      const std::int64_t count = std::min(chunk, rows() - first);
      const std::vector<LogitRows> lanes{{base.data() + first * V, V},
                                         {reference.data() + first * V, V},
                                         {subject.data() + first * V, V}};
      out.add_rows(first, count, lanes, pool);
    }
    return out;
  }

  Comparison compare(const LaneLogits& subject, const SummaryOptions& options = {}) const {
    ThreadPool pool(1);
    return summarise(accumulate(subject), 0, options, pool);
  }
};

}  // namespace mg::test
