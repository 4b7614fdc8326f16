#include "harness/io/checkpoint.h"

#include <gtest/gtest.h>

#include <filesystem>
#include <nlohmann/json.hpp>

namespace mg {
namespace {

TEST(Checkpoint, OpensEveryFolderOfTheTestData) {
  int opened = 0;
  for (const auto& entry : std::filesystem::recursive_directory_iterator(MG_TEST_DATA "/golden")) {
    if (entry.path().filename() != "config.json") {
      continue;
    }
    const Checkpoint checkpoint = Checkpoint::open(entry.path().parent_path());
    EXPECT_FALSE(checkpoint.tensors().empty()) << entry.path();
    EXPECT_FALSE(checkpoint.has_index());
    ++opened;
  }
  EXPECT_EQ(opened, 39);
}

}  // namespace
}  // namespace mg
