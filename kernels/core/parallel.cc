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
// a sleeping thread takes to wake.  For the same reason nobody who is awake takes a lock: whether a
// loop is open, which one it is and how many have joined it are one atomic word.
struct ThreadPool::State {
  struct Loop {
    std::int64_t n = 0;
    std::int64_t grain = 1;
    const std::function<void(std::int64_t, std::int64_t)>* body = nullptr;
    std::atomic<std::int64_t> next{0};
  };

  static constexpr std::uint64_t kJoined = 0xFFFF;  // workers in the loop
  static constexpr std::uint64_t kOpen = 0x10000;
  static constexpr std::uint64_t kGeneration = 0x20000;  // one loop further

  std::vector<std::thread> workers;
  std::atomic<bool> busy{false};  // a loop runs: a nested or concurrent call runs inline instead
  Loop loop;                      // written while nobody can join it, read by those who joined
  std::atomic<std::uint64_t> word{0};
  std::atomic<bool> stop{false};

  std::mutex mutex;  // guards `failure`, and going to sleep against being woken
  std::condition_variable wake;
  std::condition_variable done;
  std::atomic<int> sleeping{0};
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

  /// Waits until `ready`, first by looking, then asleep on `condition`.
  template <typename Ready>
  void wait(std::condition_variable& condition, const Ready& ready) {
    constexpr int kLooks = 2000;  // 50 to 100 microseconds, by the length of the processor's pause
    for (int i = 0; i < kLooks; ++i) {
      if (ready()) {
        return;
      }
      pause_briefly();
    }
    std::unique_lock<std::mutex> lock(mutex);
    ++sleeping;  // before `ready` looks again: who makes it true afterwards sees a sleeper
    condition.wait(lock, ready);
    --sleeping;
  }

  /// To be called after what sleepers wait for has come true.
  void wake_sleepers(std::condition_variable& condition) {
    if (sleeping > 0) {
      { const std::lock_guard<std::mutex> lock(mutex); }  // a sleeper to be is asleep by now
      condition.notify_all();
    }
  }

  /// Joins the open loop if it is not the one of `seen`.
  bool join(std::uint64_t& seen) {
    std::uint64_t now = word;
    while ((now & kOpen) != 0 && now / kGeneration != seen) {
      if (word.compare_exchange_weak(now, now + 1)) {
        seen = now / kGeneration;
        return true;
      }
    }
    return false;
  }

  void work() {
    std::uint64_t seen = 0;
    for (;;) {
      bool joined = false;
      wait(wake, [&] { return stop || (joined = join(seen)); });
      if (!joined) {
        return;
      }
      drain();
      if ((--word & (kOpen | kJoined)) == 0) {
        wake_sleepers(done);
      }
    }
  }

  void start(std::int64_t n, std::int64_t grain,
             const std::function<void(std::int64_t, std::int64_t)>& body) {
    loop.n = n;
    loop.grain = grain;
    loop.body = &body;
    loop.next = 0;
    failure = nullptr;
    word = (word / kGeneration + 1) * kGeneration + kOpen;
    wake_sleepers(wake);
  }

  /// Closes the loop and returns its failure once everybody who joined has left.
  std::exception_ptr finish() {
    word -= kOpen;
    wait(done, [&] { return (word & kJoined) == 0; });
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
