#include "harness/io/fault_guard.h"

#include <signal.h>
#include <sys/mman.h>
#include <unistd.h>

#include <array>
#include <atomic>
#include <cerrno>
#include <cstdint>

#include "kernels/core/error.h"

namespace mg::fault_guard {
namespace {

struct Slot {
  // begin: 0 = free, 1 = being set up; an address otherwise.  `end` is written before `begin` is
  // published.
  std::atomic<std::uintptr_t> begin{0};
  std::atomic<std::uintptr_t> end{0};
  std::atomic<bool> fault{false};
};

constexpr std::uintptr_t kFree = 0;
constexpr std::uintptr_t kReserved = 1;

struct Guard {
  std::array<Slot, 8192> slots;
  std::atomic<int> used{0};  // slots [0, used) may be taken: bounds the handler's search
  std::atomic<std::uintptr_t> page{4096};
  struct sigaction previous {};
};

static_assert(std::atomic<std::uintptr_t>::is_always_lock_free, "read inside a signal handler");

// A signal handler gets no context of its own, so what it reads has to be reachable without one.
// NOLINTNEXTLINE(cppcoreguidelines-avoid-non-const-global-variables): the handler's state
constinit Guard g_guard;

Slot* slot_of(std::uintptr_t address) {
  const int used = g_guard.used.load(std::memory_order_acquire);
  for (int i = 0; i < used; ++i) {
    Slot& slot = g_guard.slots[static_cast<std::size_t>(i)];
    const std::uintptr_t begin = slot.begin.load(std::memory_order_acquire);
    if (begin > kReserved && address >= begin &&
        address < slot.end.load(std::memory_order_acquire)) {
      return &slot;
    }
  }
  return nullptr;
}

// Maps zeros from the faulting page to the end of the mapping: behind the first missing page all
// others are missing too, and one mapping per page would run into vm.max_map_count.
bool absorb(std::uintptr_t address) {
  Slot* slot = slot_of(address);
  if (slot == nullptr) {
    return false;
  }
  const std::uintptr_t page_size = g_guard.page.load(std::memory_order_relaxed);
  const std::uintptr_t page = address / page_size * page_size;
  const std::uintptr_t end = slot->end.load(std::memory_order_acquire);
  slot->fault.store(true, std::memory_order_release);
  // The address comes from the kernel as a number.  NOLINTNEXTLINE(performance-no-int-to-ptr)
  void* zeros = ::mmap(reinterpret_cast<void*>(page), end - page, PROT_READ,
                       MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED, -1, 0);
  return zeros != MAP_FAILED;
}

void on_sigbus(int signal, siginfo_t* info, void* context) {
  const int saved_errno = errno;
  const bool done = absorb(reinterpret_cast<std::uintptr_t>(info->si_addr));
  errno = saved_errno;
  if (done) {
    return;
  }
  const struct sigaction& previous = g_guard.previous;
  if ((previous.sa_flags & SA_SIGINFO) != 0 && previous.sa_sigaction != nullptr) {
    previous.sa_sigaction(signal, info, context);
  } else if (previous.sa_handler != SIG_DFL && previous.sa_handler != SIG_IGN) {
    previous.sa_handler(signal);
  } else {
    // Returning repeats the faulting access, now under the default action: the usual death and core
    // file.
    struct sigaction fallback {};
    fallback.sa_handler = SIG_DFL;
    ::sigaction(SIGBUS, &fallback, nullptr);
  }
}

bool install() {
  g_guard.page = static_cast<std::uintptr_t>(::sysconf(_SC_PAGESIZE));
  struct sigaction action {};
  action.sa_sigaction = on_sigbus;
  action.sa_flags = SA_SIGINFO | SA_ONSTACK;
  sigemptyset(&action.sa_mask);
  return ::sigaction(SIGBUS, &action, &g_guard.previous) == 0;
}

}  // namespace

int watch(void* begin, std::size_t bytes) {
  static const bool installed = install();
  MG_CHECK(installed, "the SIGBUS handler can be installed");
  for (std::size_t i = 0; i < g_guard.slots.size(); ++i) {
    Slot& slot = g_guard.slots[i];
    std::uintptr_t expected = kFree;
    if (!slot.begin.compare_exchange_strong(expected, kReserved)) {
      continue;
    }
    const auto address = reinterpret_cast<std::uintptr_t>(begin);
    slot.fault.store(false);
    slot.end.store(address + bytes);
    slot.begin.store(address);
    int used = g_guard.used.load();
    while (used <= static_cast<int>(i) &&
           !g_guard.used.compare_exchange_weak(used, static_cast<int>(i) + 1)) {
    }
    return static_cast<int>(i);
  }
  MG_CHECK(false, "fewer than 8192 files are mapped at once");
}

void forget(int slot) {
  g_guard.slots.at(static_cast<std::size_t>(slot)).begin.store(kFree);
}

bool faulted(int slot) {
  return g_guard.slots.at(static_cast<std::size_t>(slot)).fault.load();
}

}  // namespace mg::fault_guard
