// Threads that read a mapping while its file is cut short.
#include <gtest/gtest.h>

#include <atomic>
#include <filesystem>
#include <span>
#include <string>
#include <thread>
#include <vector>

#include "harness/io/mapped_file.h"
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

TEST(MappedFileThreads, ManyThreadsMayMeetTheHoleAtOnce) {
  const TempFolder folder;
  for (int round = 0; round < 20; ++round) {
    const auto path = folder.write("a.bin", std::string(64 * kPage, 'x'));
    const auto other = MappedFile::open(folder.write("b.bin", std::string(64 * kPage, 'y')));
    const auto file = MappedFile::open(path);
    std::filesystem::resize_file(path, 8 * kPage);
    std::atomic<std::size_t> nonzero{0};
    std::vector<std::thread> threads;
    for (std::size_t t = 0; t < 4; ++t) {
      threads.emplace_back([&, t] {
        for (std::size_t page = t; page < 64; page += 4) {
          nonzero += count_nonzero(file->bytes().subspan((63 - page) * kPage, kPage));
        }
      });
    }
    for (std::thread& thread : threads) {
      thread.join();
    }
    EXPECT_EQ(nonzero, 8 * kPage);
    EXPECT_THROW(file->check_intact(), Error);
    EXPECT_EQ(count_nonzero(other->bytes()), 64 * kPage);
    other->check_intact();
  }
}

}  // namespace
}  // namespace mg
