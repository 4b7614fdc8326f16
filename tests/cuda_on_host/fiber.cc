#include "tests/cuda_on_host/fiber.h"

#include <sys/mman.h>

#include <new>
#include <utility>

#if defined(__SANITIZE_ADDRESS__)
#include <sanitizer/asan_interface.h>
#endif

namespace mg::cuda_on_host {
namespace {

namespace context = boost::context;

#if defined(__SANITIZE_ADDRESS__)
void start_switch(void** fake, const void* bottom, std::size_t bytes) {
  __sanitizer_start_switch_fiber(fake, bottom, bytes);
}
void finish_switch(void* fake, const void** bottom, std::size_t* bytes) {
  __sanitizer_finish_switch_fiber(fake, bottom, bytes);
}
/// The sanitizer keeps the marks around a dead fiber's variables, whatever is mapped there next.
void forget_frames(void* stack) {
  __asan_unpoison_memory_region(stack, kStackBytes);
}
#else
void start_switch(void** /*fake*/, const void* /*bottom*/, std::size_t /*bytes*/) {}
void finish_switch(void* /*fake*/, const void** /*bottom*/, std::size_t* /*bytes*/) {}
void forget_frames(void* /*stack*/) {}
#endif

/// Hands out the pool's stacks in the way Boost.Context asks for them.
struct PoolAllocator {
  StackPool* pool;
  void* stack;

  context::stack_context allocate() const {
    context::stack_context sctx;
    sctx.size = kStackBytes;
    sctx.sp = static_cast<char*>(stack) + kStackBytes;
    return sctx;
  }
  void deallocate(context::stack_context& sctx) const noexcept {
    void* bottom = static_cast<char*>(sctx.sp) - kStackBytes;
    forget_frames(bottom);
    pool->give_back(bottom);
  }
};

}  // namespace

StackPool::~StackPool() {
  for (void* stack : free_) {
    munmap(stack, kStackBytes);
  }
}

void* StackPool::take() {
  if (!free_.empty()) {
    void* stack = free_.back();
    free_.pop_back();
    return stack;
  }
  void* stack =
      mmap(nullptr, kStackBytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  if (stack == MAP_FAILED) {
    throw std::bad_alloc();
  }
  return stack;
}

Fiber::Fiber(StackPool& pool, std::function<void()> body) : stack_(pool.take()) {
  inner_ = context::fiber(std::allocator_arg, PoolAllocator{&pool, stack_},
                          [this, body = std::move(body)](context::fiber&& outer) {
                            finish_switch(nullptr, &outer_bottom_, &outer_bytes_);
                            outer_ = std::move(outer);
                            body();
                            start_switch(nullptr, outer_bottom_, outer_bytes_);
                            return std::move(outer_);
                          });
}

void Fiber::enter() {
  void* fake = nullptr;
  start_switch(&fake, stack_, kStackBytes);
  inner_ = std::move(inner_).resume();
  finish_switch(fake, nullptr, nullptr);
}

void Fiber::leave() {
  start_switch(&fake_inside_, outer_bottom_, outer_bytes_);
  outer_ = std::move(outer_).resume();
  finish_switch(fake_inside_, &outer_bottom_, &outer_bytes_);
}

}  // namespace mg::cuda_on_host
