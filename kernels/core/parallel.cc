#include "kernels/core/parallel.h"

#include <sched.h>

#include <algorithm>
#include <atomic>
#include <condition_variable>
#include <exception>
#include <mutex>
#include <thread>
#include <vector>

#include "kernels/core/error.h"

namespace mg {
namespace {

int available_cores() {
  cpu_set_t set;
  if (sched_getaffinity(0, sizeof(set), &set) == 0) {
    return std::max(1, CPU_COUNT(&set));
  }
  return std::max(1, static_cast<int>(std::thread::hardware_concurrency()));
}

}  // namespace

struct ThreadPool::State {
  // One loop at a time; `busy` marks it, so that a nested call runs inline instead of dead-locking.
  struct Loop {
    std::int64_t n = 0;
    std::int64_t grain = 1;
    const std::function<void(std::int64_t, std::int64_t)>* body = nullptr;
    std::atomic<std::int64_t> next{0};
  };

  std::vector<std::thread> workers;
  std::mutex mutex;
  std::condition_variable wake;
  std::condition_variable done;
  std::uint64_t generation = 0;
  int running = 0;
  bool stop = false;
  std::atomic<bool> busy{false};
  Loop loop;
  std::exception_ptr failure;

  void drain() {
    for (;;) {
      const std::int64_t begin = loop.next.fetch_add(loop.grain);
      if (begin >= loop.n) {
        return;
      }
      try {
        (*loop.body)(begin, std::min(loop.n, begin + loop.grain));
      } catch (...) {
        const std::lock_guard<std::mutex> lock(mutex);
        if (!failure) {
          failure = std::current_exception();
        }
      }
    }
  }

  void work() {
    std::uint64_t seen = 0;
    for (;;) {
      {
        std::unique_lock<std::mutex> lock(mutex);
        wake.wait(lock, [&] { return stop || generation != seen; });
        if (stop) {
          return;
        }
        seen = generation;
      }
      drain();
      const std::lock_guard<std::mutex> lock(mutex);
      if (--running == 0) {
        done.notify_one();
      }
    }
  }
};

ThreadPool::ThreadPool(int threads) : state_(std::make_unique<State>()) {
  MG_CHECK(threads >= 0, "thread count is not negative");
  const int count = threads == 0 ? available_cores() : threads;
  for (int i = 1; i < count; ++i) {
    state_->workers.emplace_back([this] { state_->work(); });
  }
}

ThreadPool::~ThreadPool() {
  {
    const std::lock_guard<std::mutex> lock(state_->mutex);
    state_->stop = true;
  }
  state_->wake.notify_all();
  for (std::thread& worker : state_->workers) {
    worker.join();
  }
}

int ThreadPool::threads() const {
  return static_cast<int>(state_->workers.size()) + 1;
}

void ThreadPool::for_chunks(std::int64_t n, std::int64_t grain,
                            const std::function<void(std::int64_t, std::int64_t)>& body) {
  MG_CHECK(grain > 0, "grain is positive");
  // A nested or concurrent call finds `busy` set and runs on its own thread: same chunks, same
  // bits.
  if (state_->workers.empty() || n <= grain || state_->busy.exchange(true)) {
    for (std::int64_t begin = 0; begin < n; begin += grain) {
      body(begin, std::min(n, begin + grain));
    }
    return;
  }
  {
    const std::lock_guard<std::mutex> lock(state_->mutex);
    state_->loop.n = n;
    state_->loop.grain = grain;
    state_->loop.body = &body;
    state_->loop.next = 0;
    state_->failure = nullptr;
    state_->running = static_cast<int>(state_->workers.size());
    ++state_->generation;
  }
  state_->wake.notify_all();
  state_->drain();
  std::exception_ptr failure;
  {
    std::unique_lock<std::mutex> lock(state_->mutex);
    state_->done.wait(lock, [&] { return state_->running == 0; });
    failure = state_->failure;
  }
  state_->busy = false;
  if (failure) {
    std::rethrow_exception(failure);
  }
}

}  // namespace mg
