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

/// Lets the core's other thread, or the memory system, get on while this one looks for work.
void pause_briefly() {
#if defined(__x86_64__)
  __builtin_ia32_pause();
#else
  std::this_thread::yield();
#endif
}

}  // namespace

// How a loop passes through: the caller fills `loop`, opens it and works on it like everybody else;
// workers join while it is open; when no chunk is left the caller closes it and waits for those
// that joined, never for one that is still waking up.  Waiting spins for a while before it sleeps:
// a decoding step consists of hundreds of loops of a few dozen microseconds, each about as long as
// a sleeping thread takes to wake.
struct ThreadPool::State {
  struct Loop {
    std::int64_t n = 0;
    std::int64_t grain = 1;
    const std::function<void(std::int64_t, std::int64_t)>* body = nullptr;
    std::atomic<std::int64_t> next{0};
  };

  std::vector<std::thread> workers;
  std::atomic<bool> busy{false};  // a loop runs: a nested or concurrent call runs inline instead
  Loop loop;

  // The mutex guards what follows; the atomics are also read without it, to know when to look.
  std::mutex mutex;
  std::condition_variable wake;
  std::condition_variable done;
  std::atomic<std::uint64_t> generation{0};
  std::atomic<bool> open{false};
  std::atomic<int> joined{0};
  std::atomic<bool> stop{false};
  int sleeping = 0;
  std::exception_ptr failure;

  void run_chunk(std::int64_t begin) {
    try {
      (*loop.body)(begin, std::min(loop.n, begin + loop.grain));
    } catch (...) {
      const std::lock_guard<std::mutex> lock(mutex);
      if (!failure) {
        failure = std::current_exception();
      }
    }
  }

  void drain() {
    for (;;) {
      const std::int64_t begin = loop.next.fetch_add(loop.grain);
      if (begin >= loop.n) {
        return;
      }
      run_chunk(begin);
    }
  }

  /// Waits until `ready`, first by looking, then asleep on `condition`; holds the lock afterwards.
  template <typename Ready>
  std::unique_lock<std::mutex> wait(std::condition_variable& condition, const Ready& ready) {
    constexpr int kLooks = 2000;  // 50 to 100 microseconds, by the length of the processor's pause
    for (int i = 0; i < kLooks && !ready(); ++i) {
      pause_briefly();
    }
    std::unique_lock<std::mutex> lock(mutex);
    ++sleeping;
    condition.wait(lock, ready);
    --sleeping;
    return lock;
  }

  void work() {
    std::uint64_t seen = 0;
    for (;;) {
      {
        const std::unique_lock<std::mutex> lock =
            wait(wake, [&] { return stop || (open && generation != seen); });
        if (stop) {
          return;
        }
        seen = generation;
        ++joined;
      }
      drain();
      const std::lock_guard<std::mutex> lock(mutex);
      if (--joined == 0) {
        done.notify_one();
      }
    }
  }

  void start(std::int64_t n, std::int64_t grain,
             const std::function<void(std::int64_t, std::int64_t)>& body) {
    bool somebody_sleeps = false;
    {
      const std::lock_guard<std::mutex> lock(mutex);
      loop.n = n;
      loop.grain = grain;
      loop.body = &body;
      loop.next = 0;
      failure = nullptr;
      ++generation;
      open = true;
      somebody_sleeps = sleeping > 0;
    }
    if (somebody_sleeps) {
      wake.notify_all();
    }
  }

  /// Closes the loop and returns its failure once everybody who joined has left.
  std::exception_ptr finish() {
    {
      const std::lock_guard<std::mutex> lock(mutex);
      open = false;
    }
    const std::unique_lock<std::mutex> lock = wait(done, [&] { return joined == 0; });
    return failure;
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
  state_->start(n, grain, body);
  state_->drain();
  const std::exception_ptr failure = state_->finish();
  state_->busy = false;
  if (failure) {
    std::rethrow_exception(failure);
  }
}

}  // namespace mg
