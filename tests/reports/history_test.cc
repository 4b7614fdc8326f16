// The history of runs: comparable runs only, several writers, files that are damaged or foreign.
#include <fmt/format.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cmath>
#include <filesystem>
#include <fstream>
#include <functional>
#include <sstream>
#include <thread>

#include "kernels/core/error.h"
#include "reports/atomic_file.h"
#include "reports/digest.h"
#include "reports/history/baseline.h"
#include "reports/history/store.h"
#include "reports/history/trend.h"
#include "reports/json/report_json.h"
#include "tests/reports/sample_reports.h"

namespace mg {
namespace {

using ::testing::HasSubstr;

class HistoryTest : public ::testing::Test {
 protected:
  void SetUp() override {
    folder_ = std::filesystem::temp_directory_path() /
              ("mergegauge-history-" +
               std::string(::testing::UnitTest::GetInstance()->current_test_info()->name()));
    std::filesystem::remove_all(folder_);
    std::filesystem::create_directories(folder_);
    file_ = folder_ / "runs.sqlite";
  }
  void TearDown() override { std::filesystem::remove_all(folder_); }

  void append(const Report& report) const {
    History::open(file_, true).append({report, text_digest(write_report_json(report))});
  }

  std::string bytes() const {
    std::ifstream stream(file_, std::ios::binary);
    std::ostringstream text;
    text << stream.rdbuf();
    return text.str();
  }

  std::filesystem::path folder_;
  std::filesystem::path file_;
};

/// A night's run: its time, and its KL as a multiple of the sample's.
Report night(int number, double factor = 1.0) {
  Report report = samples::passing();
  report.timing->started = fmt::format("2024-05-{:02}T02:00:00Z", number % 30 + 1);
  // A few per cent up and down, as merges of one recipe differ.
  const double wobble = 1.0 + 0.04 * std::sin(12.9898 * number);
  for (Verdict& verdict : report.verdicts) {
    if (verdict.gate == "kl.mean") {
      const double scale = factor * wobble;
      verdict.value = *verdict.value * scale;
      verdict.ci90 = Interval{verdict.ci90->lower * scale, verdict.ci90->upper * scale};
    }
  }
  return report;
}

std::string code_of(const std::function<void()>& action) {
  try {
    action();
  } catch (const Error& error) {
    return error.parts().code;
  }
  return "no error";
}

TEST_F(HistoryTest, AStepPlantedInThirtyNightsIsFoundAtItsRun) {
  for (int i = 0; i < 30; ++i) {
    append(night(i, i >= 17 ? 1.6 : 1.0));
  }
  const Trend trend = read_trend(History::open(file_, false), "", 30);
  ASSERT_EQ(trend.runs.size(), 30U);
  ASSERT_EQ(trend.gates.front().gate, "kl.mean");
  ASSERT_EQ(trend.gates.front().steps.size(), 1U);
  EXPECT_EQ(trend.gates.front().steps.front().at, 17U);
  for (std::size_t i = 1; i < trend.gates.size(); ++i) {
    EXPECT_TRUE(trend.gates[i].steps.empty()) << trend.gates[i].gate;
  }
  EXPECT_THAT(trend_text(trend), HasSubstr("step at run 18 of 30 (2024-05-18T02:00:00Z): 2.6"));
  const std::string page = render_trend_html(trend);
  EXPECT_THAT(page, HasSubstr(">step at run 18</text>"));
  EXPECT_THAT(page, HasSubstr("default-src 'none'"));
}

TEST_F(HistoryTest, TheSameReportTwiceIsOneRun) {
  append(night(1));
  append(night(1));
  append(night(2));
  const History history = History::open(file_, false);
  EXPECT_EQ(history.series().front().runs, 2);
  EXPECT_EQ(history.runs(comparability_key(night(1)), 1).front().started, "2024-05-03T02:00:00Z");
}

TEST_F(HistoryTest, AnotherBaseBeginsAnotherSeries) {
  append(night(1));
  Report other = night(2);
  other.provenance->files.front().sha256 = std::string(64, 'f');
  append(other);
  const Trend trend = read_trend(History::open(file_, false), "", 30);
  EXPECT_EQ(trend.runs.size(), 1U);
  EXPECT_EQ(trend.other_keys, 1);
  ASSERT_TRUE(trend.began_with);
  EXPECT_EQ(trend.began_with->field, "base");
  EXPECT_EQ(read_trend(History::open(file_, false), key_digest(comparability_key(night(1))), 30)
                .runs.front()
                .started,
            "2024-05-02T02:00:00Z");
}

TEST_F(HistoryTest, AdaptersOfOneBaseAreFollowedTogetherAndMarked) {
  for (int i = 0; i < 12; ++i) {
    Report report = night(i, i >= 8 ? 3.0 : 1.0);
    for (FileRecord& file : report.provenance->files) {
      if (file.role == "adapter") {
        file.sha256 = std::string(64, i < 5 ? 'a' : i < 8 ? 'b' : 'c');
      }
    }
    append(report);
  }
  const History history = History::open(file_, false);
  const Trend trend = read_trend(history, "", 10);
  ASSERT_EQ(trend.runs.size(), 10U);
  EXPECT_EQ(trend.runs.front().started, "2024-05-03T02:00:00Z");
  EXPECT_EQ(trend.all_runs, 12);
  EXPECT_EQ(trend.other_keys, 0);
  EXPECT_EQ(trend.adapters, 3);
  EXPECT_THAT(trend.adapter_changes, ::testing::ElementsAre(3U, 6U));
  EXPECT_THAT(trend_text(trend), HasSubstr("3 adapters of one base"));
  EXPECT_THAT(trend_text(trend), HasSubstr("step at run 7 of 10 (2024-05-09T02:00:00Z): 2.6"));
  EXPECT_THAT(trend_text(trend), HasSubstr(" nat, with another adapter"));
  EXPECT_THAT(render_trend_html(trend), HasSubstr("step, another adapter"));
  // One key alone on request; and a baseline must be of the same adapter.
  EXPECT_EQ(read_trend(history, key_digest(trend.key), 10).runs.size(), 4U);
  try {
    read_baseline(file_, night(1));
    FAIL() << "the baseline was taken";
  } catch (const Error& error) {
    EXPECT_EQ(error.parts().what, "the baseline was measured on another adapter");
  }
}

TEST_F(HistoryTest, TheFirstRunOfAHistoryHasNothingToBeHeldAgainst) {
  History::open(file_, true);
  Report report = night(1);
  const std::size_t gates = report.verdicts.size();
  hold_against_baseline(file_, report);
  EXPECT_EQ(report.status, RunStatus::kPass);
  EXPECT_EQ(report.verdicts.size(), gates);
  EXPECT_EQ(report.findings.back().rule, "baseline.first-run");
}

TEST_F(HistoryTest, ManyWritersLoseNothing) {
  constexpr int kWriters = 4;
  constexpr int kRuns = 8;
  std::vector<std::thread> writers;
  for (int writer = 0; writer < kWriters; ++writer) {
    writers.emplace_back([this, writer] {
      for (int i = 0; i < kRuns; ++i) {
        Report report = night(i);
        report.timing->wall_s = 100.0 * writer + i;
        append(report);
      }
    });
  }
  for (std::thread& writer : writers) {
    writer.join();
  }
  EXPECT_EQ(History::open(file_, false).series().front().runs, kWriters * kRuns);
}

TEST_F(HistoryTest, ADamagedFileIsReportedAndLeftAlone) {
  for (int i = 0; i < 20; ++i) {
    append(night(i));
  }
  {
    std::fstream stream(file_, std::ios::binary | std::ios::in | std::ios::out);
    stream.seekp(4096);
    stream << std::string(3000, '\x5a');
  }
  const std::string before = bytes();
  EXPECT_EQ(code_of([&] { append(night(21)); }), "history.damaged");
  EXPECT_EQ(code_of([&] { History::open(file_, false); }), "history.damaged");
  EXPECT_EQ(bytes(), before);
}

TEST_F(HistoryTest, WhatIsNoHistoryIsLeftAlone) {
  write_file_atomically(file_, "this is a text, not a database, and long enough to be read as one");
  const std::string before = bytes();
  EXPECT_EQ(code_of([&] { append(night(1)); }), "history.damaged");
  EXPECT_EQ(bytes(), before);
  std::filesystem::remove(file_);
  EXPECT_EQ(code_of([&] { History::open(file_, false); }), "history.missing");
  EXPECT_FALSE(std::filesystem::exists(file_));
}

TEST_F(HistoryTest, ARunWithoutDigestsCannotBeCompared) {
  Report report = night(1);
  report.provenance->files.clear();
  EXPECT_EQ(code_of([&] { append(report); }), "history.no-digests");
}

TEST_F(HistoryTest, ABaselineHoldsTheNextRunToItsLevel) {
  append(night(1));
  const Baseline baseline = *read_baseline(file_, night(2));
  const auto status = [&](const Report& report) {
    const std::vector<Verdict> verdicts = judge_against(baseline, report);
    EXPECT_EQ(verdicts.front().gate, "baseline.kl.mean");
    return verdicts.front().status;
  };
  EXPECT_EQ(status(night(2)), GateStatus::kPass);
  // Three times the KL still lies below the arithmetic's noise: no regression.
  EXPECT_EQ(status(night(2, 3.0)), GateStatus::kPass);
  EXPECT_EQ(status(night(2, 30.0)), GateStatus::kFail);
}

TEST_F(HistoryTest, AnIncomparableBaselineIsRefusedByTheFieldThatDiffers) {
  Report other = night(1);
  other.tool.arithmetic = "fp16";
  const std::filesystem::path json = folder_ / "report.json";
  write_file_atomically(json, write_report_json(other));
  try {
    read_baseline(json, night(2));
    FAIL() << "the baseline was taken";
  } catch (const Error& error) {
    EXPECT_EQ(error.parts().code, "baseline.incomparable");
    EXPECT_EQ(error.parts().what, "the baseline was measured on another arithmetic");
    EXPECT_EQ(error.parts().expected, "exact");
    EXPECT_EQ(error.parts().actual, "fp16");
  }
  append(other);
  EXPECT_EQ(code_of([&] { read_baseline(file_, night(2)); }), "baseline.incomparable");
}

}  // namespace
}  // namespace mg
