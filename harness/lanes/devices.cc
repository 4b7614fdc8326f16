#include "harness/lanes/devices.h"

#include <algorithm>
#include <exception>
#include <mutex>
#include <string>
#include <thread>
#include <tuple>
#include <utility>

#include "kernels/core/error.h"

namespace mg {
namespace {

/// One part's place in the whole, as its run sees it.
class PartObserver final : public Observer {
 public:
  PartObserver(Observer& whole, std::int64_t first_row, std::function<void(double)> progress)
      : whole_(whole), first_row_(first_row), progress_(std::move(progress)) {}

  void logits(const LogitChunk& rows) override {
    LogitChunk moved = rows;
    moved.first_row += first_row_;
    whole_.logits(moved);
  }
  bool placed_logits(const PlacedLogits& rows) override {
    PlacedLogits moved = rows;
    moved.first_row += first_row_;
    return whole_.placed_logits(moved);
  }
  void progress(double done) override { progress_(done); }

 private:
  Observer& whole_;
  std::int64_t first_row_;
  std::function<void(double)> progress_;
};

/// The slowest part's share, told by one thread at a time.
class Progress {
 public:
  Progress(Observer& observer, std::size_t parts) : observer_(observer), done_(parts, 0.0) {}
  void report(std::size_t part, double done) {
    const std::lock_guard lock(mutex_);
    done_[part] = done;
    observer_.progress(*std::min_element(done_.begin(), done_.end()));
  }

 private:
  Observer& observer_;
  std::mutex mutex_;
  std::vector<double> done_;
};

bool holds(const BatchPart& part, std::size_t prompt) {
  return prompt >= part.first_prompt && prompt < part.first_prompt + part.batch.prompts.size();
}

/// The part's share of the forced sample, with more of its prompts where that is too few rows for
/// stable bits.
std::vector<std::size_t> forced_of(const BatchPart& part, const std::vector<std::size_t>& chosen) {
  std::vector<std::size_t> own;
  std::int64_t tokens = 0;
  for (const std::size_t prompt : chosen) {
    if (holds(part, prompt)) {
      own.push_back(prompt - part.first_prompt);
      tokens += part.batch.prompts[own.back()].length;
    }
  }
  for (std::size_t i = 0; !own.empty() && tokens < kMinStableRows; ++i) {
    if (std::find(own.begin(), own.end(), i) == own.end()) {
      own.push_back(i);
      tokens += part.batch.prompts[i].length;
    }
  }
  std::sort(own.begin(), own.end());
  return own;
}

void append(const RowDrift& from, std::int64_t begin, std::int64_t count, RowDrift& to) {
  const auto add = [&](const std::vector<double>& source, std::vector<double>& target) {
    target.insert(target.end(), source.begin() + begin, source.begin() + begin + count);
  };
  add(from.difference, to.difference);
  add(from.reference, to.reference);
}

/// What the parts' runs gave.
struct Parts {
  const Batch& batch;
  const std::vector<BatchPart>& parts;
  const std::vector<std::size_t>& forced;            // prompts of the whole
  std::vector<std::vector<std::size_t>> forced_ran;  // [part], of the part
  std::vector<LockstepResult> results;

  HalfDrift half(std::size_t subject, std::size_t index) const {
    HalfRows rows;
    for (std::size_t p = 0; p < parts.size(); ++p) {
      const HalfRows& part = results[p].rows[subject][index];
      append(part.free, 0, parts[p].batch.tokens(), rows.free);
      std::int64_t begin = 0;
      for (const std::size_t prompt : forced_ran[p]) {
        const std::int64_t count = parts[p].batch.prompts[prompt].length;
        const std::size_t in_whole = prompt + parts[p].first_prompt;
        if (std::find(forced.begin(), forced.end(), in_whole) != forced.end()) {
          append(part.forced, begin, count, rows.forced);
        }
        begin += count;
      }
    }
    return half_drift(results.front().drift[subject][index], rows, prompt_ranges(batch));
  }

  /// Where the first appeared, in whichever part.
  std::optional<NonFiniteHidden> non_finite(std::size_t lane) const {
    std::optional<NonFiniteHidden> first;
    const auto half_of = [](const NonFiniteHidden& x) {
      return std::tuple(x.stack, x.layer, x.part);
    };
    for (std::size_t p = 0; p < parts.size(); ++p) {
      std::optional<NonFiniteHidden> own = results[p].non_finite[lane];
      if (!own) {
        continue;
      }
      own->prompt += parts[p].first_prompt;
      if (!first || half_of(*own) < half_of(*first)) {
        first = own;
      } else if (half_of(*own) == half_of(*first)) {
        first->rows += own->rows;  // parts come in the order of their rows
      }
    }
    return first;
  }

  LockstepResult whole() const {
    LockstepResult out;
    for (std::size_t subject = 0; subject < results.front().drift.size(); ++subject) {
      out.drift.emplace_back();
      for (std::size_t i = 0; i < results.front().drift[subject].size(); ++i) {
        out.drift.back().push_back(half(subject, i));
      }
    }
    for (std::size_t lane = 0; lane < results.front().non_finite.size(); ++lane) {
      out.non_finite.push_back(non_finite(lane));
    }
    for (const std::size_t prompt : forced) {
      out.forced_rows += batch.prompts[prompt].length;
    }
    out.notes.push_back("the prompts were split over " + std::to_string(parts.size()) + " devices");
    for (const LockstepResult& result : results) {
      for (const std::string& note : result.notes) {
        if (std::find(out.notes.begin(), out.notes.end(), note) == out.notes.end()) {
          out.notes.push_back(note);
        }
      }
    }
    return out;
  }
};

}  // namespace

std::vector<BatchPart> split_prompts(const Batch& batch, std::size_t parts) {
  std::vector<BatchPart> out;
  const auto wanted = static_cast<std::int64_t>(std::max<std::size_t>(parts, 1));
  for (std::size_t i = 0; i < batch.prompts.size(); ++i) {
    const BatchPrompt& prompt = batch.prompts[i];
    // A new part begins where the share of those before it is used up, if what is left can stand by
    // itself.
    const std::int64_t share = batch.tokens() * static_cast<std::int64_t>(out.size()) / wanted;
    const bool full = !out.empty() && out.back().batch.tokens() >= kMinStableRows &&
                      prompt.begin + prompt.length / 2 >= share;
    if (out.empty() || (full && static_cast<std::int64_t>(out.size()) < wanted &&
                        batch.tokens() - prompt.begin >= kMinStableRows)) {
      out.push_back({.first_prompt = i, .first_row = prompt.begin, .batch = {}});
    }
    out.back().batch.add_rows(batch, prompt);
  }
  return out;
}

LockstepResult run_on_devices(std::span<const DeviceLanes> devices, const Batch& batch,
                              const LockstepOptions& options, Observer& observer) {
  MG_CHECK(!devices.empty(), "there is a device");
  const std::vector<BatchPart> parts = split_prompts(batch, devices.size());
  // Pictures stay with the whole: a tower's frames are not split.
  if (parts.size() < 2 || !batch.pictures.empty()) {
    return run_lockstep(*devices[0].pool, devices[0].lanes, batch, options, observer);
  }
  const std::vector<std::size_t> forced =
      forced_prompts(batch, options.subjects.empty() ? 0 : options.forced_tokens);
  Parts all{batch, parts, forced, {}, std::vector<LockstepResult>(parts.size())};
  for (const BatchPart& part : parts) {
    all.forced_ran.push_back(forced_of(part, forced));
  }
  Progress progress(observer, parts.size());
  std::vector<std::exception_ptr> failures(parts.size());
  const auto run_part = [&](std::size_t p) {
    try {
      LockstepOptions own = options;
      own.forced_prompts = all.forced_ran[p];
      own.keep_rows = true;
      for (const Lane& lane : devices[p].lanes) {
        lane.backend->enter_thread();
      }
      PartObserver part_observer(observer, parts[p].first_row,
                                 [&, p](double done) { progress.report(p, done); });
      all.results[p] =
          run_lockstep(*devices[p].pool, devices[p].lanes, parts[p].batch, own, part_observer);
    } catch (...) {
      failures[p] = std::current_exception();
    }
  };
  std::vector<std::thread> threads;
  for (std::size_t p = 0; p < parts.size(); ++p) {
    threads.emplace_back(run_part, p);
  }
  for (std::thread& thread : threads) {
    thread.join();
  }
  for (const std::exception_ptr& failure : failures) {
    if (failure) {
      std::rethrow_exception(failure);
    }
  }
  return all.whole();
}

}  // namespace mg
