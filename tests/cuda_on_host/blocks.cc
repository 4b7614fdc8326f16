// Runs a grid block by block: the threads of a block are fibers that run until they wait for each
// other, in an order drawn from the seed.
#include <fmt/format.h>
#include <signal.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cstring>
#include <exception>
#include <map>

#include "tests/cuda_on_host/fiber.h"
#include "tests/cuda_on_host/state.h"

namespace mg::cuda_on_host {
namespace {

constexpr unsigned kWarp = 32;
constexpr std::size_t kSharedGuard = 256;

/// Thrown inside a fiber whose block has failed elsewhere, to leave the kernel.
struct Abandoned {};

struct Site {
  const char* file = nullptr;
  int line = 0;

  bool operator==(const Site& other) const {
    return line == other.line && (file == other.file || std::strcmp(file, other.file) == 0);
  }
  std::string text() const {
    const char* name = std::strrchr(file, '/');
    return fmt::format("{}:{}", name == nullptr ? file : name + 1, line);
  }
};

enum class Wait : std::uint8_t { kNothing, kBarrier, kWarpOperation, kEnded };

struct Thread {
  uint3 index{};
  unsigned number = 0;
  Wait wait = Wait::kNothing;
  Site site;
  // Of a warp operation.
  unsigned mask = 0;
  unsigned source = 0;
  std::uint64_t value = 0;
  std::uint64_t result = 0;
  bool is_ballot = false;
  Fiber* fiber = nullptr;
};

struct SharedArray {
  std::vector<std::byte> memory;  // guard, array, guard
  std::size_t bytes = 0;
  std::byte* data() { return memory.data() + kSharedGuard; }
};

class Block;
thread_local Block* current_block = nullptr;
thread_local Thread* current_thread = nullptr;
thread_local StackPool stacks;

class Block {
 public:
  Block(const Launch& launch, const std::function<void()>& body, uint3 index)
      : launch_(launch), body_(body), index_(index) {
    const unsigned count = launch.block.x * launch.block.y * launch.block.z;
    threads_.resize(count);
    for (unsigned i = 0; i < count; ++i) {
      threads_[i].number = i;
      threads_[i].index = {i % launch.block.x, i / launch.block.x % launch.block.y,
                           i / launch.block.x / launch.block.y};
    }
    reserve(dynamic_, launch.shared_bytes);
  }

  void run() {
    current_block = this;
    order_ = draw_order();
    start_all();
    while (!failure_ && ended_ < threads_.size()) {
      bool moved = false;
      const std::vector<unsigned> order = order_;  // a barrier draws the next one meanwhile
      for (std::size_t begin = 0; begin < order.size();) {
        const std::size_t end = far_ahead_ ? begin + kWarp : order.size();
        bool progress = true;
        while (progress) {
          progress = resume_some(order, begin, std::min(end, order.size()));
          moved = moved || progress;
          progress = progress && far_ahead_;
        }
        begin = end;
      }
      if (!moved && !failure_) {
        stuck();
      }
    }
    abandon();
    current_block = nullptr;
    if (failure_) {
      std::rethrow_exception(failure_);
    }
    check_shared();
  }

  const Launch& launch() const { return launch_; }
  const uint3& index() const { return index_; }
  unsigned warp_first(const Thread& thread) const { return thread.number / kWarp * kWarp; }

  void barrier(Thread& thread, Site site) {
    if (is_left_out(site)) {
      return;
    }
    thread.site = site;
    thread.wait = Wait::kBarrier;
    if (++at_barrier_ == threads_.size()) {
      release_barrier();
    }
    pause(thread);
  }

  std::uint64_t warp_operation(Thread& thread, Site site, unsigned mask, std::uint64_t value,
                               unsigned source, bool is_ballot) {
    thread.site = site;
    thread.mask = mask;
    thread.value = value;
    thread.source = source;
    thread.is_ballot = is_ballot;
    thread.wait = Wait::kWarpOperation;
    release_warp(thread);
    if (thread.wait != Wait::kNothing) {  // the last to come goes on, the others lag behind
      pause(thread);
    }
    return thread.result;
  }

  void* shared(std::size_t bytes, Site site) {
    SharedArray& array = arrays_[{site.file, site.line}];
    if (array.memory.empty()) {
      reserve(array, bytes);
    }
    return array.data();
  }
  void* dynamic() { return dynamic_.data(); }

 private:
  std::vector<unsigned> draw_order() {
    const std::uint64_t seed = machine().settings.seed;
    if (!far_ahead_) {
      return machine().random.order(threads_.size(), seed);
    }
    std::vector<unsigned> all;
    for (const unsigned warp :
         machine().random.order((threads_.size() + kWarp - 1) / kWarp, seed)) {
      const std::size_t lanes = std::min<std::size_t>(kWarp, threads_.size() - warp * kWarp);
      for (const unsigned lane : machine().random.order(lanes, seed)) {
        all.push_back(warp * kWarp + lane);
      }
    }
    return all;
  }

  /// Each of these threads that waits for nothing, up to its next wait; false where none did.
  bool resume_some(const std::vector<unsigned>& order, std::size_t begin, std::size_t end) {
    bool moved = false;
    for (std::size_t i = begin; i < end; ++i) {
      Thread& thread = threads_[order[i]];
      if (thread.wait == Wait::kNothing && !failure_) {
        moved = true;
        resume(thread);
      }
    }
    return moved;
  }

  static void reserve(SharedArray& array, std::size_t bytes) {
    array.bytes = bytes;
    array.memory.assign(bytes + 2 * kSharedGuard, std::byte{kPoison});
  }

  /// Every thread up to its first wait.  A fiber whose thread ends takes the next one: kernels that
  /// never wait need one fiber a block.
  void start_all() {
    while (next_ < threads_.size() && !failure_) {
      fibers_.push_back(std::make_unique<Fiber>(stacks, [this] {
        while (next_ < threads_.size() && !failure_) {
          run_thread(threads_[order_[next_++]]);
        }
      }));
      fibers_.back()->enter();
    }
  }

  void run_thread(Thread& thread) {
    thread.fiber = fibers_.back().get();  // this one: a newer one starts only when it waits
    current_thread = &thread;
    try {
      body_();
    } catch (const Abandoned&) {
    } catch (...) {
      failure_ = std::current_exception();
    }
    thread.wait = Wait::kEnded;
    ++ended_;
    if (at_barrier_ > 0 && !failure_) {
      fail_later(fmt::format("divergent barrier: thread {} left the kernel while others wait at {}",
                             thread.number, waiting_sites()));
    }
  }

  void resume(Thread& thread) {
    current_thread = &thread;
    thread.fiber->enter();
  }

  /// Back to run() until the thread is released.
  void pause(Thread& thread) {
    if (!failure_) {
      thread.fiber->leave();
    }
    current_thread = &thread;
    if (failure_) {
      throw Abandoned();
    }
  }

  void release_barrier() {
    for (const Thread& thread : threads_) {
      if (!(thread.site == threads_.front().site)) {
        fail_later("divergent barrier: " + waiting_sites());
        return;
      }
    }
    for (Thread& thread : threads_) {
      thread.wait = Wait::kNothing;
    }
    at_barrier_ = 0;
    order_ = draw_order();
    machine().barriers.insert(threads_.front().site.text());
  }

  bool is_left_out(Site site) const {
    const std::string& left_out = machine().barrier_left_out;
    return !left_out.empty() && site.text() == left_out;
  }

  void release_warp(const Thread& last) {
    const unsigned first = warp_first(last);
    const auto end = std::min<std::size_t>(threads_.size(), first + kWarp);
    if ((last.mask >> (last.number - first) & 1U) == 0) {
      fail_later(fmt::format("{}: a lane calls a warp operation whose mask leaves it out",
                             last.site.text()));
      return;
    }
    unsigned votes = 0;
    for (std::size_t i = first; i < end; ++i) {
      const Thread& thread = threads_[i];
      if ((last.mask >> (i - first) & 1U) == 0) {
        continue;
      }
      if (thread.wait == Wait::kEnded) {
        fail_later(fmt::format("{}: the mask of a warp operation names lane {}, which has left",
                               last.site.text(), i - first));
        return;
      }
      if (thread.wait != Wait::kWarpOperation) {
        return;  // not all there yet
      }
      if (thread.mask != last.mask || !(thread.site == last.site)) {
        fail_later(fmt::format("lanes of a warp wait in different warp operations: {} and {}",
                               last.site.text(), thread.site.text()));
        return;
      }
      votes |= (thread.value != 0 ? 1U : 0U) << (i - first);
    }
    for (std::size_t i = first; i < end; ++i) {
      Thread& thread = threads_[i];
      if ((last.mask >> (i - first) & 1U) == 0) {
        continue;
      }
      const bool there = thread.source < kWarp && first + thread.source < end &&
                         (last.mask >> thread.source & 1U) != 0;
      // Reading from a lane that does not take part gives anything.
      thread.result = thread.is_ballot ? votes
                      : there          ? threads_[first + thread.source].value
                                       : ~std::uint64_t{0};
      thread.wait = Wait::kNothing;
    }
  }

  void fail_later(const std::string& what) {
    if (!failure_) {
      failure_ = std::make_exception_ptr(
          Failure("cuda_on_host: " + std::string(launch_.kernel) + ": " + what));
    }
  }

  std::string waiting_sites() const {
    std::map<std::string, int> sites;
    for (const Thread& thread : threads_) {
      if (thread.wait == Wait::kBarrier || thread.wait == Wait::kWarpOperation) {
        ++sites[thread.site.text()];
      }
    }
    std::string text;
    for (const auto& [site, count] : sites) {
      text += fmt::format("{}{} ({} threads)", text.empty() ? "" : ", ", site, count);
    }
    return text;
  }

  void stuck() {
    fail_later(fmt::format("divergent barrier: threads wait for each other at {}; {} have left",
                           waiting_sites(), ended_));
  }

  /// Leaves the kernel in every fiber that is still inside it.
  void abandon() {
    if (!failure_) {
      return;
    }
    for (Thread& thread : threads_) {
      if (thread.fiber != nullptr && thread.wait != Wait::kEnded && !thread.fiber->ended()) {
        current_thread = &thread;
        thread.fiber->enter();
      }
    }
  }

  void check_shared() {
    arrays_.emplace(std::pair<const char*, int>{"dynamic shared memory", 0}, dynamic_);
    for (const auto& [place, array] : arrays_) {
      const auto untouched = [](std::byte b) { return b == std::byte{kPoison}; };
      const std::byte* begin = array.memory.data();
      const std::byte* end = begin + array.memory.size();
      if (!std::all_of(begin, begin + kSharedGuard, untouched) ||
          !std::all_of(end - kSharedGuard, end, untouched)) {
        fail(fmt::format("{}: written outside a shared array of {} bytes ({})", launch_.kernel,
                         array.bytes, Site{place.first, place.second}.text()));
      }
    }
  }

  const Launch& launch_;
  const std::function<void()>& body_;
  uint3 index_;
  std::vector<Thread> threads_;
  std::vector<unsigned> order_;
  // Odd seeds: each warp goes on for as long as it can before the next one does, so that it gets
  // far ahead where a barrier is missing.  Even ones: no thread gets more than a step ahead.
  bool far_ahead_ = machine().settings.seed % 2 == 1;
  std::size_t next_ = 0;  // of order_: the next thread to start
  std::size_t ended_ = 0;
  std::size_t at_barrier_ = 0;
  std::vector<std::unique_ptr<Fiber>> fibers_;
  std::map<std::pair<const char*, int>, SharedArray> arrays_;
  SharedArray dynamic_;
  std::exception_ptr failure_;
};

/// Says which kernel touched memory that is not there, before the process ends.
void on_bad_access(int signal, siginfo_t* /*info*/, void* /*context*/) {
  const auto say = [](const char* text) {
    static_cast<void>(!write(STDERR_FILENO, text, std::strlen(text)));
  };
  say("cuda_on_host: access outside every allocation");
  if (current_block != nullptr) {
    say(" in kernel ");
    say(current_block->launch().kernel);
  }
  say("\n");
  ::signal(signal, SIG_DFL);
  raise(signal);
}

void install_handler() {
#if !defined(__SANITIZE_ADDRESS__)  // which reports better
  static const bool installed = [] {
    struct sigaction action {};
    action.sa_sigaction = on_bad_access;
    action.sa_flags = SA_SIGINFO;
    sigaction(SIGSEGV, &action, nullptr);
    return true;
  }();
  static_cast<void>(installed);
#endif
}

}  // namespace

void run_grid(const Launch& launch, const std::function<void()>& body) {
  install_handler();
  const std::size_t blocks = std::size_t{launch.grid.x} * launch.grid.y * launch.grid.z;
  for (const unsigned i : machine().random.order(blocks, machine().settings.seed)) {
    Block(launch, body,
          {i % launch.grid.x, i / launch.grid.x % launch.grid.y, i / launch.grid.x / launch.grid.y})
        .run();
  }
  check_guards(launch.kernel);
}

namespace {

void require_shared(const Launch& launch) {
  constexpr std::size_t kWithoutAsking = std::size_t{48} << 10;
  const auto allowed = machine().allowed_shared.find(launch.function);
  const std::size_t limit =
      allowed == machine().allowed_shared.end() ? kWithoutAsking : allowed->second;
  if (launch.shared_bytes > limit) {
    fail(fmt::format("{}: {} bytes of shared memory, only {} were allowed", launch.kernel,
                     launch.shared_bytes, limit));
  }
}

}  // namespace

void launch(const Launch& launch, cudaStream_t stream, std::function<void()> body) {
  const std::lock_guard lock(machine().mutex);
  require_shared(launch);
  const std::size_t threads = std::size_t{launch.block.x} * launch.block.y * launch.block.z;
  if (threads == 0 || threads > 1024 || launch.block.z > 64 || launch.grid.x == 0 ||
      launch.grid.y == 0 || launch.grid.z == 0 || launch.grid.x > 0x7FFFFFFFU ||
      launch.grid.y > 65535 || launch.grid.z > 65535) {
    fail(fmt::format("{}: a device refuses grid {}x{}x{} of blocks {}x{}x{}", launch.kernel,
                     launch.grid.x, launch.grid.y, launch.grid.z, launch.block.x, launch.block.y,
                     launch.block.z));
  }
  require_current(stream, launch.kernel);
  ++machine().counts.kernels;
  ++machine().counts.kernels_on[stream == nullptr ? 0 : stream->device];
  enqueue(stream, {[launch, body = std::move(body)] { run_grid(launch, body); }, nullptr, 0});
}

void allow_shared(const void* kernel, std::size_t bytes) {
  const std::lock_guard lock(machine().mutex);
  constexpr std::size_t kLargest = 166912;  // sm_80's 163 KiB
  if (bytes > kLargest) {
    fail(fmt::format("{} bytes of shared memory are more than sm_80 has", bytes));
  }
  machine().allowed_shared[kernel] = bytes;
}

const uint3& thread_index() {
  return current_thread->index;
}
const uint3& block_index() {
  return current_block->index();
}
const dim3& block_size() {
  return current_block->launch().block;
}
const dim3& grid_size() {
  return current_block->launch().grid;
}
unsigned lane() {
  return current_thread->number % kWarp;
}

void sync_threads(const char* file, int line) {
  current_block->barrier(*current_thread, {file, line});
}
void sync_warp(unsigned mask, const char* file, int line) {
  current_block->warp_operation(*current_thread, {file, line}, mask, 0, 0, true);
}
std::uint64_t exchange(unsigned mask, std::uint64_t value, unsigned source_lane, const char* file,
                       int line) {
  return current_block->warp_operation(*current_thread, {file, line}, mask, value, source_lane,
                                       false);
}
unsigned ballot(unsigned mask, bool predicate, const char* file, int line) {
  return static_cast<unsigned>(current_block->warp_operation(*current_thread, {file, line}, mask,
                                                             predicate ? 1U : 0U, 0, true));
}

void* block_shared(std::size_t bytes, const char* file, int line) {
  return current_block->shared(bytes, {file, line});
}
void* dynamic_shared() {
  return current_block->dynamic();
}

}  // namespace mg::cuda_on_host
