#include "harness/metrics/accumulator.h"

#include <algorithm>
#include <limits>

#include "kernels/core/error.h"

namespace mg {

std::vector<std::int32_t> next_tokens_of(std::span<const std::int32_t> input_ids,
                                         std::int64_t scored_begin) {
  const auto T = static_cast<std::int64_t>(input_ids.size());
  std::vector<std::int32_t> next(input_ids.size(), -1);
  for (std::int64_t row = std::max<std::int64_t>(0, scored_begin - 1); row + 1 < T; ++row) {
    next[static_cast<std::size_t>(row)] = input_ids[static_cast<std::size_t>(row + 1)];
  }
  return next;
}

RowLayout::RowLayout(std::vector<PromptRows> prompts) : prompts_(std::move(prompts)) {
  first_row_.push_back(0);
  for (const PromptRows& prompt : prompts_) {
    MG_CHECK(prompt.rows >= 0, "a prompt has no negative number of rows");
    MG_CHECK(prompt.next_tokens.empty() ||
                 static_cast<std::int64_t>(prompt.next_tokens.size()) == prompt.rows,
             "one next token per row");
    const auto index = static_cast<std::int32_t>(first_row_.size() - 1);
    prompt_of_row_.insert(prompt_of_row_.end(), static_cast<std::size_t>(prompt.rows), index);
    first_row_.push_back(first_row_.back() + prompt.rows);
  }
}

std::int64_t RowLayout::scored_rows() const {
  std::int64_t count = 0;
  for (const PromptRows& prompt : prompts_) {
    count += std::count_if(prompt.next_tokens.begin(), prompt.next_tokens.end(),
                           [](std::int32_t token) { return token >= 0; });
  }
  return count;
}

std::int64_t RowLayout::first_row(std::int64_t prompt) const {
  return first_row_[static_cast<std::size_t>(prompt)];
}

std::int64_t RowLayout::prompt_of(std::int64_t row) const {
  return prompt_of_row_[static_cast<std::size_t>(row)];
}

std::int64_t RowLayout::position_of(std::int64_t row) const {
  return row - first_row(prompt_of(row));
}

std::int64_t RowLayout::next_token(std::int64_t row) const {
  const PromptRows& prompt = prompts_[static_cast<std::size_t>(prompt_of(row))];
  return prompt.next_tokens.empty()
             ? -1
             : prompt.next_tokens[static_cast<std::size_t>(position_of(row))];
}

MetricAccumulator::MetricAccumulator(RowLayout layout, std::int64_t V,
                                     std::vector<std::string> lanes, std::vector<PairSpec> pairs)
    : layout_(std::move(layout)),
      vocabulary_(V),
      lanes_(std::move(lanes)),
      pairs_(std::move(pairs)),
      path_(best_row_path()) {
  const auto lane_count = static_cast<int>(lanes_.size());
  for (const PairSpec& pair : pairs_) {
    MG_CHECK(pair.reference >= 0 && pair.reference < lane_count && pair.subject >= 0 &&
                 pair.subject < lane_count && pair.base < lane_count,
             "a pair names lanes that exist");
  }
  const auto rows = static_cast<std::size_t>(layout_.rows());
  lane_rows_.assign(lanes_.size(), std::vector<LaneRow>(rows));
  pair_rows_.assign(pairs_.size(), std::vector<PairRow>(rows));
  seen_.assign(rows, 0);
}

void MetricAccumulator::claim_rows(std::int64_t first_row, std::int64_t rows) {
  MG_CHECK(first_row >= 0 && rows >= 0 && first_row + rows <= layout_.rows(),
           "a chunk lies within the suite's rows");
  for (std::int64_t row = first_row; row < first_row + rows; ++row) {
    MG_CHECK(seen_[static_cast<std::size_t>(row)] == 0, "a row is added once");
    seen_[static_cast<std::size_t>(row)] = 1;
  }
  added_ += rows;
}

void MetricAccumulator::add_rows(std::int64_t first_row, std::int64_t rows,
                                 std::span<const LogitRows> lanes, ThreadPool& pool) {
  MG_CHECK(lanes.size() == lanes_.size(), "a chunk holds every lane");
  for (const LogitRows& lane : lanes) {
    MG_CHECK(lane.stride >= vocabulary_, "a row is as long as the vocabulary");
  }
  claim_rows(first_row, rows);
  pool.for_chunks(rows, 1, [&](std::int64_t begin, std::int64_t end) {
    for (std::int64_t offset = begin; offset < end; ++offset) {
      add_row(first_row + offset, offset, lanes);
    }
  });
}

void MetricAccumulator::add_sweeps(std::int64_t first_row, std::int64_t rows,
                                   std::span<const LaneSweep> lanes,
                                   std::span<const PairSweep> pairs) {
  const auto count = static_cast<std::size_t>(rows);
  MG_CHECK(lanes.size() == lanes_.size() * count && pairs.size() == pairs_.size() * count,
           "a sweep of every row of every lane and pair");
  claim_rows(first_row, rows);
  for (std::size_t i = 0; i < count; ++i) {
    const std::int64_t row = first_row + static_cast<std::int64_t>(i);
    const auto at = static_cast<std::size_t>(row);
    for (std::size_t lane = 0; lane < lanes_.size(); ++lane) {
      lane_rows_[lane][at] = lane_row_of(lanes[lane * count + i]);
    }
    for (std::size_t index = 0; index < pairs_.size(); ++index) {
      const PairSpec& pair = pairs_[index];
      const PairLanes rows_of_pair{&lane_row(pair.reference, row), &lane_row(pair.subject, row),
                                   pair.base < 0 ? nullptr : &lane_row(pair.base, row)};
      pair_rows_[index][at] = pair_row_of(pairs[index * count + i], rows_of_pair, vocabulary_,
                                          layout_.next_token(row) >= 0);
    }
  }
}

void MetricAccumulator::add_row(std::int64_t row, std::int64_t offset,
                                std::span<const LogitRows> lanes) {
  const auto at = static_cast<std::size_t>(row);
  const auto logits = [&](int lane) {
    const LogitRows& rows = lanes[static_cast<std::size_t>(lane)];
    return rows.logits + offset * rows.stride;
  };
  for (int lane = 0; lane < static_cast<int>(lanes.size()); ++lane) {
    lane_rows_[static_cast<std::size_t>(lane)][at] = measure_lane(logits(lane), vocabulary_, path_);
  }
  for (std::size_t index = 0; index < pairs_.size(); ++index) {
    const PairSpec& pair = pairs_[index];
    PairInput input;
    input.reference = logits(pair.reference);
    input.subject = logits(pair.subject);
    input.reference_row = &lane_row(pair.reference, row);
    input.subject_row = &lane_row(pair.subject, row);
    if (pair.base >= 0) {
      input.base = logits(pair.base);
      input.base_row = &lane_row(pair.base, row);
    }
    input.V = vocabulary_;
    input.next_token = layout_.next_token(row);
    pair_rows_[index][at] = compare_rows(input, path_);
  }
}

const LaneRow& MetricAccumulator::lane_row(int lane, std::int64_t row) const {
  return lane_rows_[static_cast<std::size_t>(lane)][static_cast<std::size_t>(row)];
}

std::span<const PairRow> MetricAccumulator::pair_rows(int pair) const {
  return pair_rows_[static_cast<std::size_t>(pair)];
}

}  // namespace mg
