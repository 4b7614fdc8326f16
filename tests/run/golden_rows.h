// Logits of lanes against the expected ones of a golden case.
//
// Tolerance: a case's expected.json records float32_noise_max_abs: how far the reference
// implementation's own float32 lies from its float64.  `cpu` accumulates in float32 as that does,
// in another order: 4 times it. `reference` computes in double, but rotary angles are float32 on
// both sides and torch's pow may differ from ours in the last bit: an angle's relative error 2^-24
// moves a logit as a float32 rounding of q and k would, which is part of the same recorded noise: 1
// times it, plus half an ulp of the float32 in which expected logits are stored.
#pragma once

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <cstring>
#include <string>
#include <utility>
#include <vector>

#include "harness/io/safetensors.h"
#include "harness/lanes/lockstep.h"

namespace mg::test {

inline double golden_tolerance(const std::string& backend) {
  return backend == "reference" ? 1.0 : 4.0;
}

/// Compares every row as it comes with the float32 logits of the expected file.
class CompareRows final : public Observer {
 public:
  CompareRows(const Batch& batch, std::vector<std::string> lanes, const SafetensorsFile& expected,
              double noise, double tolerance)
      : batch_(batch),
        lanes_(std::move(lanes)),
        expected_(expected),
        noise_(noise),
        tolerance_(tolerance) {}

  void logits(const LogitChunk& rows) override {
    for (std::size_t lane = 0; lane < lanes_.size(); ++lane) {
      for (std::int64_t r = 0; r < rows.rows; ++r) {
        compare_row(lane, rows.first_row + r, rows.lanes[lane].data() + r * rows.vocab[lane],
                    rows.vocab[lane]);
      }
    }
  }
  double worst() const { return worst_; }
  std::int64_t compared() const { return compared_; }

 private:
  void compare_row(std::size_t lane, std::int64_t row, const float* actual, std::int64_t vocab) {
    std::size_t p = 0;
    while (row >= batch_.prompts[p].begin + batch_.prompts[p].length) {
      ++p;
    }
    const std::string name = batch_.prompts[p].id + "." + lanes_[lane];
    const TensorView view = find(name);
    const std::int64_t offset = (row - batch_.prompts[p].begin) * vocab;
    for (std::int64_t v = 0; v < vocab; ++v) {
      float expected = 0.0F;
      std::memcpy(&expected, view.data + static_cast<std::size_t>(offset + v) * sizeof(float),
                  sizeof(float));
      const double error =
          std::fabs(static_cast<double>(actual[v]) - static_cast<double>(expected));
      const double limit = tolerance_ * noise_ + std::fabs(static_cast<double>(expected)) * 0x1p-24;
      ASSERT_TRUE(error <= limit) << name << " row " << row << " token " << v << ": " << actual[v]
                                  << ", expected " << expected << ", noise " << noise_;
      worst_ = std::max(worst_, error / noise_);
      ++compared_;
    }
  }

  TensorView find(const std::string& name) const {
    for (const SafetensorsRecord& record : expected_.header().records) {
      if (record.name == name) {
        return expected_.view(record);
      }
    }
    ADD_FAILURE() << "no " << name << " in the golden file";
    return {};
  }

  const Batch& batch_;
  std::vector<std::string> lanes_;
  const SafetensorsFile& expected_;
  double noise_;
  double tolerance_;
  double worst_ = 0;
  std::int64_t compared_ = 0;
};

}  // namespace mg::test
