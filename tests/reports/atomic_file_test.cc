#include "reports/atomic_file.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sys/stat.h>
#include <unistd.h>

#include <filesystem>
#include <fstream>
#include <sstream>
#include <string>

#include "kernels/core/error.h"

namespace mg {
namespace {

namespace fs = std::filesystem;

class AtomicFile : public testing::Test {
 protected:
  void SetUp() override {
    folder_ = fs::path(testing::TempDir()) /
              ("atomic-" + std::to_string(getpid()) + "-" +
               testing::UnitTest::GetInstance()->current_test_info()->name());
    fs::create_directories(folder_);
  }
  void TearDown() override { fs::remove_all(folder_); }

  static std::string text(const fs::path& path) {
    std::ifstream file(path, std::ios::binary);
    std::ostringstream content;
    content << file.rdbuf();
    return content.str();
  }

  std::vector<std::string> names() const {
    std::vector<std::string> found;
    for (const auto& entry : fs::directory_iterator(folder_)) {
      found.push_back(entry.path().filename().string());
    }
    return found;
  }

  fs::path folder_;
};

TEST_F(AtomicFile, WritesReplacesAndLeavesNothingElse) {
  write_file_atomically(folder_ / "r.json", std::string("one\0two", 7));
  EXPECT_EQ(text(folder_ / "r.json"), std::string("one\0two", 7));
  write_file_atomically(folder_ / "r.json", "three");
  EXPECT_EQ(text(folder_ / "r.json"), "three");
  EXPECT_THAT(names(), testing::ElementsAre("r.json"));
}

TEST_F(AtomicFile, MakesFolders) {
  write_file_atomically(folder_ / "a" / "b" / "r.json", "x");
  EXPECT_EQ(text(folder_ / "a" / "b" / "r.json"), "x");
}

TEST_F(AtomicFile, PermissionsAreThoseOfAnOrdinaryFile) {
  const mode_t mask = umask(022);
  write_file_atomically(folder_ / "r.json", "x");
  umask(mask);
  struct stat status {};
  ASSERT_EQ(stat((folder_ / "r.json").c_str(), &status), 0);
  EXPECT_EQ(status.st_mode & 0777, 0644U);
}

TEST_F(AtomicFile, ReadersOfTheOldFileKeepIt) {
  write_file_atomically(folder_ / "r.json", "old");
  std::ifstream open_file(folder_ / "r.json");
  write_file_atomically(folder_ / "r.json", "new, and longer");
  std::string seen;
  std::getline(open_file, seen);
  EXPECT_EQ(seen, "old");
}

TEST_F(AtomicFile, FailureLeavesTheTargetAndNoTemporaryFile) {
  fs::create_directories(folder_ / "r.json" /
                         "not-empty");  // a folder cannot be replaced by a file
  try {
    write_file_atomically(folder_ / "r.json", "x");
    FAIL() << "no error";
  } catch (const Error& error) {
    EXPECT_STREQ(error.what(), ("error[output.cannot-write]: a file cannot be written\n"
                                "  where:    " +
                                (folder_ / "r.json").string() +
                                "\n"
                                "  actual:   renaming the temporary file to it: Is a directory\n"
                                "  hint:     the file, if there was one, is unchanged")
                                   .c_str());
  }
  EXPECT_THAT(names(), testing::ElementsAre("r.json"));
}

}  // namespace
}  // namespace mg
