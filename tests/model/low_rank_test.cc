#include "harness/model/low_rank.h"

#include <gtest/gtest.h>

#include <random>
#include <vector>

namespace mg {
namespace {

TEST(MultiplyLowRank, IsTheAscendingChainOfRoundedProductsBitForBit) {
  std::mt19937_64 random(3);
  std::normal_distribution<double> normal;
  for (const std::int64_t rank : {1, 3, 8, 17}) {
    for (const std::int64_t cols : {1, 7, 8, 9, 40}) {
      for (const std::int64_t rows : {1, 3, 4, 6, 11}) {
        std::vector<double> left(static_cast<std::size_t>(rows * rank));
        for (double& value : left) {
          value = normal(random);
        }
        PackedRight right(rank, cols);
        for (std::int64_t k = 0; k < rank; ++k) {
          for (std::int64_t j = 0; j < cols; ++j) {
            right.set(k, j, normal(random));
          }
        }
        std::vector<double> out(static_cast<std::size_t>(rows * cols) + 1, -77.0);
        multiply_low_rank(left.data(), rows, right, 0.3, out.data());
        for (std::int64_t i = 0; i < rows; ++i) {
          for (std::int64_t j = 0; j < cols; ++j) {
            double sum = 0;
            for (std::int64_t k = 0; k < rank; ++k) {
              sum += right.at(k, j) * left[static_cast<std::size_t>(i * rank + k)];
            }
            ASSERT_EQ(out[static_cast<std::size_t>(i * cols + j)], 0.3 * sum)
                << rank << " " << rows << "x" << cols << " at " << i << "," << j;
          }
        }
        ASSERT_EQ(out.back(), -77.0) << "wrote past the end";
      }
    }
  }
}

}  // namespace
}  // namespace mg
