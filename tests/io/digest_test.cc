#include "harness/io/digest.h"

#include <gtest/gtest.h>

#include <atomic>
#include <filesystem>
#include <string>
#include <vector>

#include "tests/io/temp_folder.h"

namespace mg {
namespace {

// FIPS 180-2, examples B.1 and B.3, and the digest of nothing.
constexpr const char* kAbc = "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad";
constexpr const char* kMillionA =
    "cdc76e5c9914fb9281a1c7e284d73e67f1809a48a497200e046d39ccc7112cd0";
constexpr const char* kNothing = "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855";

TEST(Digest, GivesThePublishedDigests) {
  const TempFolder folder;
  EXPECT_EQ(digest_file(folder.write("abc", "abc")).sha256, kAbc);
  EXPECT_EQ(digest_file(folder.write("a", std::string(1'000'000, 'a'))).sha256, kMillionA);
  const FileDigest empty = digest_file(folder.write("empty", ""));
  EXPECT_EQ(empty.sha256, kNothing);
  EXPECT_EQ(empty.bytes, 0U);
}

TEST(Digest, IsTheSameForAnyNumberOfThreads) {
  const TempFolder folder;
  std::vector<std::filesystem::path> paths;
  std::uint64_t total = 0;
  for (std::size_t i = 0; i < 20; ++i) {
    // Sizes around the read block of 1 MiB, so that files of several blocks and partial ones occur.
    const std::size_t size = i * 150'000;
    paths.push_back(folder.write(std::to_string(i), std::string(size, static_cast<char>('a' + i))));
    total += size;
  }
  std::vector<std::string> expected;
  for (const auto& path : paths) {
    expected.push_back(digest_file(path).sha256);
  }
  for (const int threads : {1, 2, 5}) {
    ThreadPool pool(threads);
    std::atomic<std::uint64_t> seen{0};
    const auto digests = digest_files(paths, pool, [&](std::uint64_t bytes) { seen += bytes; });
    ASSERT_EQ(digests.size(), paths.size());
    for (std::size_t i = 0; i < paths.size(); ++i) {
      EXPECT_EQ(digests[i].path, paths[i]);
      EXPECT_EQ(digests[i].sha256, expected[i]);
    }
    EXPECT_EQ(seen, total);
  }
}

TEST(Digest, NamesAFileThatIsGone) {
  const TempFolder folder;
  ThreadPool pool(2);
  const std::vector<std::filesystem::path> paths = {folder.write("a", "a"), folder.path() / "b"};
  EXPECT_EQ(folder.error_of([&] { digest_files(paths, pool); }),
            "error[file.not-found]: no such file\n  where:    DIR/b");
}

TEST(Digest, NamesAFileThatShrinksMeanwhile) {
  const TempFolder folder;
  const auto path = folder.write("a", std::string(3 << 20, 'x'));
  const auto cut = [&](std::uint64_t) { std::filesystem::resize_file(path, 100); };
  EXPECT_EQ(folder.error_of([&] { digest_file(path, cut); }),
            "error[file.shrank]: the file became shorter while it was being read\n"
            "  where:    DIR/a\n"
            "  expected: 3145728 bytes   actual: 100 bytes\n"
            "  hint:     something is writing to it: wait until that has finished and run again");
}

}  // namespace
}  // namespace mg
