// ThreadPool: every chunk once, the same chunks for any number of threads, errors rethrown.  Also
// run by the thread sanitizer (label threads).
#include "kernels/core/parallel.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <atomic>
#include <barrier>
#include <mutex>
#include <stdexcept>
#include <thread>
#include <utility>
#include <vector>

#include "kernels/core/error.h"

namespace mg {
namespace {

using Chunks = std::vector<std::pair<std::int64_t, std::int64_t>>;

Chunks chunks_of(ThreadPool& pool, std::int64_t n, std::int64_t grain) {
  std::mutex mutex;
  Chunks chunks;
  pool.for_chunks(n, grain, [&](std::int64_t begin, std::int64_t end) {
    const std::lock_guard<std::mutex> lock(mutex);
    chunks.emplace_back(begin, end);
  });
  std::sort(chunks.begin(), chunks.end());
  return chunks;
}

TEST(ThreadPool, CutsByGrainAloneForAnyNumberOfThreads) {
  const Chunks expected{{0, 4}, {4, 8}, {8, 10}};
  for (const int threads : {1, 2, 3, 8}) {
    ThreadPool pool(threads);
    EXPECT_EQ(pool.threads(), threads);
    for (int repeat = 0; repeat < 100; ++repeat) {
      ASSERT_EQ(chunks_of(pool, 10, 4), expected) << threads;
    }
  }
}

TEST(ThreadPool, EmptyAndSingleChunks) {
  ThreadPool pool(2);
  EXPECT_TRUE(chunks_of(pool, 0, 4).empty());
  EXPECT_EQ(chunks_of(pool, 4, 4), (Chunks{{0, 4}}));
  EXPECT_EQ(chunks_of(pool, 5, 4), (Chunks{{0, 4}, {4, 5}}));
}

TEST(ThreadPool, ZeroTakesAtLeastTheCallingThread) {
  EXPECT_GE(ThreadPool(0).threads(), 1);
}

TEST(ThreadPool, ChunksRunAtTheSameTime) {
  for (const int threads : {2, 4}) {
    ThreadPool pool(threads);
    std::barrier meeting(
        threads);  // passes only with all threads inside a chunk: else the test hangs
    std::vector<int> met(static_cast<std::size_t>(threads));
    pool.for_chunks(threads, 1, [&](std::int64_t begin, std::int64_t) {
      meeting.arrive_and_wait();
      met[static_cast<std::size_t>(begin)] = 1;
    });
    EXPECT_EQ(met, std::vector<int>(static_cast<std::size_t>(threads), 1));
  }
}

TEST(ThreadPool, PlainWritesOfTheChunksAreVisibleToTheCaller) {
  ThreadPool pool(4);
  std::vector<std::int64_t> squares(10000, -1);  // not atomic: the sanitizer sees a missing barrier
  for (int repeat = 0; repeat < 20; ++repeat) {
    pool.for_chunks(10000, 7, [&](std::int64_t begin, std::int64_t end) {
      for (std::int64_t i = begin; i < end; ++i) {
        squares[static_cast<std::size_t>(i)] = i * i + repeat;
      }
    });
    for (std::int64_t i = 0; i < 10000; ++i) {
      ASSERT_EQ(squares[static_cast<std::size_t>(i)], i * i + repeat);
    }
  }
}

TEST(ThreadPool, ANestedLoopRunsToItsEnd) {
  ThreadPool pool(3);
  std::atomic<int> inner{0};
  pool.for_chunks(8, 1, [&](std::int64_t, std::int64_t) {
    pool.for_chunks(5, 1, [&](std::int64_t, std::int64_t) { ++inner; });
  });
  EXPECT_EQ(inner, 40);
}

TEST(ThreadPool, CallsFromSeveralThreadsDoNotDisturbEachOther) {
  ThreadPool pool(2);
  std::vector<std::thread> callers;
  std::atomic<std::int64_t> total{0};
  for (int caller = 0; caller < 3; ++caller) {
    callers.emplace_back([&] {
      for (int repeat = 0; repeat < 50; ++repeat) {
        std::atomic<std::int64_t> sum{0};
        pool.for_chunks(100, 9, [&](std::int64_t begin, std::int64_t end) { sum += end - begin; });
        total += sum;
      }
    });
  }
  for (std::thread& caller : callers) {
    caller.join();
  }
  EXPECT_EQ(total, 3 * 50 * 100);
}

TEST(ThreadPool, AnExceptionReachesTheCallerAndThePoolLivesOn) {
  for (const int threads : {1, 4}) {
    ThreadPool pool(threads);
    const auto fail_at_five = [](std::int64_t begin, std::int64_t) {
      if (begin == 5) {
        throw std::runtime_error("five");
      }
    };
    EXPECT_THROW(pool.for_chunks(10, 1, fail_at_five), std::runtime_error);
    EXPECT_EQ(chunks_of(pool, 3, 1).size(), 3U);
  }
}

TEST(ThreadPool, ANegativeCountIsOurOwnFault) {
  EXPECT_THROW(ThreadPool(-1), Error);
  ThreadPool pool(1);
  EXPECT_THROW(pool.for_chunks(1, 0, [](std::int64_t, std::int64_t) {}), Error);
}

}  // namespace
}  // namespace mg
