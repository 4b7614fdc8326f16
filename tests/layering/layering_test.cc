#include "tests/layering/layering.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cstdlib>
#include <filesystem>
#include <fstream>

namespace mg::layering {
namespace {

using ::testing::ElementsAre;
using ::testing::IsEmpty;

std::filesystem::path repository() {
  return std::filesystem::path(MG_TEST_DATA).parent_path();
}

TEST(Layering, EveryIncludeOfTheTreeGoesDownward) {
  EXPECT_THAT(check_tree(repository()), IsEmpty());
}

TEST(Layering, EveryRuleNamesOnlyFoldersThatStandBeforeIt) {
  // Otherwise two folders could include each other and no layer would be the lower one.
  std::vector<std::string_view> lower;
  for (const FolderRule& rule : folder_rules()) {
    for (const std::string_view allowed : rule.may_include) {
      EXPECT_TRUE(std::any_of(lower.begin(), lower.end(),
                              [&](std::string_view l) { return l.starts_with(allowed); }))
          << rule.folder << " may include " << allowed << ", which stands after it";
    }
    lower.push_back(rule.folder);
  }
}

TEST(Layering, AnUpwardIncludeIsCaught) {
  EXPECT_THAT(check_source("harness/io/reader.cc",
                           "#include \"harness/io/reader.h\"\n"
                           "\n"
                           "#include \"harness/model/config.h\"\n"),
              ElementsAre("harness/io/reader.cc:3: harness/io may not include "
                          "\"harness/model/config.h\""));
}

TEST(Layering, ASidewaysIncludeIsCaught) {
  EXPECT_THAT(check_source("kernels/cpu/matmul.cc", "#include \"kernels/reference/matmul.h\"\n"),
              ElementsAre("kernels/cpu/matmul.cc:1: kernels/cpu may not include "
                          "\"kernels/reference/matmul.h\""));
}

TEST(Layering, SpacesDoNotHideAnInclude) {
  EXPECT_THAT(check_source("kernels/core/shape.h", "  #  include\t\"harness/cli/main.h\" // x\n"),
              ElementsAre("kernels/core/shape.h:1: kernels/core may not include "
                          "\"harness/cli/main.h\""));
}

TEST(Layering, TheLastLineCountsWithoutANewline) {
  EXPECT_THAT(check_source("reports/html.cc", "#include \"harness/run/runner.h\""),
              ElementsAre("reports/html.cc:1: reports may not include \"harness/run/runner.h\""));
}

TEST(Layering, APathThatIsNotFromTheRootIsCaught) {
  EXPECT_THAT(check_source("harness/io/reader.cc", "#include \"reader.h\"\n"),
              ElementsAre("harness/io/reader.cc:1: includes \"reader.h\", which is no path of the "
                          "product from the root"));
  EXPECT_THAT(check_source("harness/io/reader.cc", "#include \"tests/io/helper.h\"\n"),
              ElementsAre("harness/io/reader.cc:1: includes \"tests/io/helper.h\", which is no "
                          "path of the product from the root"));
}

TEST(Layering, AFolderNameThatOnlyBeginsLikeAnAllowedOneIsCaught) {
  EXPECT_THAT(check_source("suites/suite.cc", "#include \"harness/iota/x.h\"\n"),
              ElementsAre("suites/suite.cc:1: includes \"harness/iota/x.h\", which is no path of "
                          "the product from the root"));
}

TEST(Layering, OutsideHeadersHaveTheirFolders) {
  EXPECT_THAT(check_source("harness/model/config.cc", "#include <iostream>\n#include <vector>\n"),
              ElementsAre("harness/model/config.cc:1: harness/model may not include <iostream>"));
  EXPECT_THAT(check_source("kernels/cpu/matmul.cc", "#include <Eigen/Dense>\n"),
              ElementsAre("kernels/cpu/matmul.cc:1: kernels/cpu may not include <Eigen/Dense>"));
  EXPECT_THAT(check_source("harness/cli/main.cc", "#include <CLI/CLI.hpp>\n"), IsEmpty());
}

TEST(Layering, AFolderWithoutARuleIsCaught) {
  EXPECT_THAT(check_source("harness/misc/x.cc", ""),
              ElementsAre("harness/misc/x.cc: stands in no folder of tests/layering/rules.cc"));
}

TEST(Layering, WhatIsAllowedRaisesNothing) {
  EXPECT_THAT(check_source("harness/audit/audit.cc",
                           "#include \"harness/audit/audit.h\"\n"
                           "#include \"kernels/core/error.h\"\n"
                           "#include \"harness/io/checkpoint.h\"\n"
                           "#include <nlohmann/json.hpp>\n"
                           "// #include \"harness/cli/main.h\"\n"),
              IsEmpty());
}

TEST(Layering, ATreeIsSearchedInAllItsFolders) {
  const auto root = std::filesystem::path(testing::TempDir()) / "mergegauge-layering";
  std::filesystem::remove_all(root);
  for (const char* folder : {"kernels/cuda/deep", "harness/io", "suites", "reports"}) {
    std::filesystem::create_directories(root / folder);
  }
  std::ofstream(root / "kernels/cuda/deep/a.cuh") << "#include \"harness/io/file.h\"\n";
  std::ofstream(root / "harness/io/b.h") << "#include \"reports/html.h\"\n";
  std::ofstream(root / "harness/io/notes.txt") << "#include \"reports/html.h\"\n";
  EXPECT_THAT(check_tree(root),
              ElementsAre("harness/io/b.h:1: harness/io may not include \"reports/html.h\"",
                          "kernels/cuda/deep/a.cuh:1: kernels/cuda may not include "
                          "\"harness/io/file.h\""));
  std::filesystem::remove_all(root);
}

}  // namespace
}  // namespace mg::layering
