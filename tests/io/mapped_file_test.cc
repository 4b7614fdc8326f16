#include "harness/io/mapped_file.h"

#include <fcntl.h>
#include <gtest/gtest.h>
#include <signal.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include <chrono>
#include <filesystem>
#include <fstream>
#include <string>

#include "tests/io/temp_folder.h"

namespace mg {
namespace {

constexpr std::size_t kPage = 4096;

std::size_t count_nonzero(std::span<const std::byte> bytes) {
  std::size_t count = 0;
  for (const std::byte byte : bytes) {
    count += byte != std::byte{0} ? 1 : 0;
  }
  return count;
}

// Pages of mapped files that this process holds (third field of statm).
std::size_t resident_file_pages() {
  std::ifstream statm("/proc/self/statm");
  std::size_t size = 0;
  std::size_t resident = 0;
  std::size_t shared = 0;
  statm >> size >> resident >> shared;
  return shared;
}

TEST(MappedFile, GivesTheFilesBytes) {
  const TempFolder folder;
  const auto file = MappedFile::open(folder.write("a.bin", "content"));
  const auto bytes = file->bytes();
  EXPECT_EQ(std::string(reinterpret_cast<const char*>(bytes.data()), bytes.size()), "content");
  file->check_intact();
}

TEST(MappedFile, EmptyFileGivesAnEmptySpan) {
  const TempFolder folder;
  const auto file = MappedFile::open(folder.write("empty", ""));
  EXPECT_TRUE(file->bytes().empty());
  file->prefetch(file->bytes().data(), 0);
  file->release(file->bytes().data(), 0);
  file->check_intact();
}

TEST(MappedFile, FollowsLinks) {
  const TempFolder folder;
  folder.write("blobs/1234", "content");
  std::filesystem::create_directory(folder.path() / "snapshots");
  std::filesystem::create_symlink("../blobs/1234", folder.path() / "snapshots" / "model");
  EXPECT_EQ(MappedFile::open(folder.path() / "snapshots" / "model")->bytes().size(), 7U);
}

TEST(MappedFile, NamesWhatCannotBeOpened) {
  const TempFolder folder;
  const auto error = [&](const char* name) {
    return folder.error_of([&] { MappedFile::open(folder.path() / name); });
  };
  EXPECT_EQ(error("absent"), "error[file.not-found]: no such file\n  where:    DIR/absent");
  EXPECT_EQ(error("."),
            "error[file.is-directory]: a file is needed here, this is a folder\n  where:    DIR/.");
  std::filesystem::create_symlink("../blobs/1234", folder.path() / "model.safetensors");
  EXPECT_EQ(
      error("model.safetensors"),
      "error[file.dangling-link]: model.safetensors is a link to a file that does not exist\n"
      "  where:    DIR/model.safetensors\n"
      "  expected: a file at ../blobs/1234   actual: nothing there\n"
      "  hint:     in a Hub cache this is an interrupted download or a copied snapshots folder "
      "without its blobs: download it again, or copy with `cp -L`");
  std::filesystem::create_symlink("round", folder.path() / "round");
  EXPECT_EQ(error("round"),
            "error[file.link-loop]: symbolic links lead round in a circle\n  where:    DIR/round");
  ASSERT_EQ(::mkfifo((folder.path() / "pipe").c_str(), 0600), 0);
  EXPECT_EQ(
      error("pipe"),
      "error[file.not-regular]: a regular file is needed here, this is a device, pipe or socket\n"
      "  where:    DIR/pipe");
}

TEST(MappedFile, NamesAFileWithoutPermission) {
  if (::geteuid() == 0) {
    GTEST_SKIP() << "root may read every file";
  }
  const TempFolder folder;
  std::filesystem::permissions(folder.write("secret", "x"), std::filesystem::perms::none);
  EXPECT_EQ(folder.error_of([&] { MappedFile::open(folder.path() / "secret"); }),
            "error[file.permission]: the file cannot be read by this user\n"
            "  where:    DIR/secret\n"
            "  hint:     give yourself read permission (chmod u+r) or run as the file's owner");
}

TEST(MappedFile, AFileThatShrinksReadsAsZerosAndIsReported) {
  const TempFolder folder;
  const auto path = folder.write("a.bin", std::string(10 * kPage, 'x'));
  const auto file = MappedFile::open(path);
  file->check_intact();
  std::filesystem::resize_file(path, kPage + 100);
  // The kernel fills the rest of the last page with zeros; the pages behind it raise SIGBUS.
  EXPECT_EQ(count_nonzero(file->bytes()), kPage + 100);
  EXPECT_EQ(folder.error_of([&] { file->check_intact(); }),
            "error[file.shrank]: the file became shorter while it was being read\n"
            "  where:    DIR/a.bin\n"
            "  expected: 40960 bytes   actual: 4196 bytes\n"
            "  hint:     something is writing to it: wait until that has finished and run again");
}

TEST(MappedFile, AFileThatShrankAndGrewAgainIsReported) {
  const TempFolder folder;
  const auto path = folder.write("a.bin", std::string(10 * kPage, 'x'));
  const auto file = MappedFile::open(path);
  std::filesystem::resize_file(path, 0);
  EXPECT_EQ(count_nonzero(file->bytes()), 0U);
  std::filesystem::resize_file(path, 10 * kPage);
  EXPECT_EQ(
      folder.error_of([&] { file->check_intact(); }),
      "error[file.shrank]: a part of the file could not be read\n"
      "  where:    DIR/a.bin\n"
      "  expected: 40960 readable bytes   actual: a page that the system could not deliver\n"
      "  hint:     the file was cut and written again while it was being read, or its disk fails "
      "(see dmesg): run again");
}

TEST(MappedFile, AFileWrittenInPlaceIsReported) {
  const TempFolder folder;
  const auto path = folder.write("a.bin", "before");
  const auto file = MappedFile::open(path);
  // A later time by hand: two writes within one tick of the file system's clock have the same.
  std::filesystem::last_write_time(
      folder.write("a.bin", "after!"),
      std::filesystem::last_write_time(path) + std::chrono::seconds(1));
  EXPECT_EQ(folder.error_of([&] { file->check_intact(); }),
            "error[file.changed]: the file was written to while it was being read\n"
            "  where:    DIR/a.bin\n"
            "  hint:     what was computed is of neither version: run again when it is complete");
}

TEST(MappedFile, ReleaseDropsThePagesAndKeepsTheBytes) {
  const TempFolder folder;
  constexpr std::size_t kBytes = 16 << 20;
  const auto file = MappedFile::open(folder.write("a.bin", std::string(kBytes, 'x')));
  const auto bytes = file->bytes();
  file->prefetch(bytes.data(), bytes.size());
  EXPECT_EQ(count_nonzero(bytes), kBytes);
  const std::size_t before = resident_file_pages();
  file->release(bytes.data(), bytes.size());
  EXPECT_LE(resident_file_pages() + kBytes / kPage / 2, before);
  EXPECT_EQ(count_nonzero(bytes), kBytes);
}

// Maps a file behind MappedFile's back, cuts it and reads past the end.
void fault_elsewhere(const std::filesystem::path& path) {
  const int fd = ::open(path.c_str(), O_RDWR);
  void* mapping = ::mmap(nullptr, kPage, PROT_READ, MAP_SHARED, fd, 0);
  if (::ftruncate(fd, 0) != 0) {
    ::_exit(3);
  }
  ::_exit(*static_cast<volatile const char*>(mapping) == 0 ? 4 : 5);
}

TEST(MappedFileDeathTest, AFaultOutsideItsMappingsStillKills) {
  GTEST_FLAG_SET(death_test_style, "threadsafe");
  EXPECT_EXIT(
      {
        ::signal(SIGBUS, SIG_DFL);  // no sanitizer's handler in between
        const TempFolder folder;
        const auto file = MappedFile::open(folder.write("ours", "x"));
        fault_elsewhere(folder.write("theirs", "x"));
      },
      ::testing::KilledBySignal(SIGBUS), "");
}

TEST(MappedFileDeathTest, AFaultOutsideItsMappingsReachesTheHandlerBefore) {
  GTEST_FLAG_SET(death_test_style, "threadsafe");
  EXPECT_EXIT(
      {
        ::signal(SIGBUS, [](int) { ::_exit(42); });
        const TempFolder folder;
        const auto file = MappedFile::open(folder.write("ours", "x"));
        fault_elsewhere(folder.write("theirs", "x"));
      },
      ::testing::ExitedWithCode(42), "");
}

}  // namespace
}  // namespace mg
