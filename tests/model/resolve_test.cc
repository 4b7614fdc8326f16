#include "harness/model/resolve.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <filesystem>
#include <nlohmann/json.hpp>
#include <set>

#include "harness/io/checkpoint.h"
#include "kernels/core/error.h"
#include "tests/model/scratch_model.h"

namespace mg {
namespace {

namespace fs = std::filesystem;

const fs::path kData = MG_TEST_DATA;

// Every model folder of the goldens and the demo, found rather than listed, so that a new case is
// tested.
std::vector<fs::path> model_folders() {
  std::vector<fs::path> folders;
  for (const fs::path& root : {kData / "golden", kData / "demo"}) {
    for (const auto& entry : fs::recursive_directory_iterator(root)) {
      if (entry.path().filename() == "config.json") {
        folders.push_back(entry.path().parent_path());
      }
    }
  }
  std::sort(folders.begin(), folders.end());
  return folders;
}

std::string test_name(const testing::TestParamInfo<fs::path>& info) {
  std::string name = fs::relative(info.param, kData).string();
  std::replace_if(
      name.begin(), name.end(), [](char c) { return std::isalnum(c) == 0; }, '_');
  return name;
}

std::vector<std::string> problem_names(const ResolvedModel& model) {
  std::vector<std::string> names;
  for (const ResolveProblem& problem : model.problems) {
    names.push_back(problem.name);
  }
  return names;
}

class EveryModel : public testing::TestWithParam<fs::path> {};

TEST_P(EveryModel, ResolvesBothWays) {
  const Checkpoint checkpoint = Checkpoint::open(GetParam());
  const ResolvedModel model = resolve_model(checkpoint);
  EXPECT_THAT(problem_names(model), testing::IsEmpty());
  EXPECT_THAT(model.config.unknown_keys, testing::IsEmpty());
  EXPECT_NO_THROW(model.require_complete(checkpoint));
  // Rules and files agree in number: nothing is claimed twice, nothing passes unseen.
  std::set<const StoredTensor*> claimed(model.companions.begin(), model.companions.end());
  claimed.insert(model.buffers.begin(), model.buffers.end());
  for (const ResolvedTensor& tensor : model.tensors) {
    if (tensor.stored != nullptr) {
      EXPECT_TRUE(claimed.insert(tensor.stored).second) << tensor.stored->name;
    } else {
      EXPECT_TRUE(tensor.rule->optional) << tensor.expected_name;
    }
  }
  EXPECT_EQ(claimed.size(), checkpoint.tensors().size());
}

TEST_P(EveryModel, FindsTheHead) {
  const Checkpoint checkpoint = Checkpoint::open(GetParam());
  const ResolvedModel model = resolve_model(checkpoint);
  ASSERT_NE(model.head(), nullptr);
  EXPECT_EQ(model.head()->shape, (Shape{model.config.vocab_size, model.config.hidden_size}));
}

INSTANTIATE_TEST_SUITE_P(Goldens, EveryModel, testing::ValuesIn(model_folders()), test_name);

TEST(ResolveTest, TheListOfModelsIsNotEmpty) {
  EXPECT_GE(model_folders().size(), 40U);
}

}  // namespace
}  // namespace mg
