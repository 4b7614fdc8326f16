#include "harness/io/adapter.h"

#include <gtest/gtest.h>

#include <filesystem>

namespace mg {
namespace {

TEST(Adapter, OpensEveryFolderOfTheTestData) {
  int opened = 0;
  for (const auto& entry : std::filesystem::recursive_directory_iterator(MG_TEST_DATA)) {
    if (entry.path().filename() != "adapter_config.json") {
      continue;
    }
    const Adapter adapter = Adapter::open(entry.path().parent_path());
    EXPECT_FALSE(adapter.modules().empty()) << entry.path();
    EXPECT_TRUE(adapter.unrecognised().empty()) << entry.path();
    EXPECT_TRUE(adapter.config().unsupported.empty()) << entry.path();
    EXPECT_TRUE(adapter.config().unknown_keys.empty()) << entry.path();
    for (const AdapterModule& module : adapter.modules()) {
      EXPECT_TRUE(is_targeted(adapter.config(), module.module)) << module.raw_name;
    }
    ++opened;
  }
  EXPECT_EQ(opened, 20);  // 18 golden, demo, smollm2
}

}  // namespace
}  // namespace mg
