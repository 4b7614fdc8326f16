// A stack of its own that can be left and returned to (Boost.Context), with the sanitizer told of
// every switch.  Stacks are kept for reuse: a launch makes thousands.
#pragma once

#include <boost/context/fiber.hpp>
#include <cstddef>
#include <functional>
#include <memory>
#include <vector>

#if defined(__SANITIZE_ADDRESS__)
#include <sanitizer/common_interface_defs.h>
#endif

namespace mg::cuda_on_host {

constexpr std::size_t kStackBytes = std::size_t{128} << 10;

/// Stacks that are not in use.
class StackPool {
 public:
  ~StackPool();
  void* take();
  void give_back(void* stack) { free_.push_back(stack); }

 private:
  std::vector<void*> free_;
};

class Fiber {
 public:
  Fiber(StackPool& pool, std::function<void()> body);
  Fiber(const Fiber&) = delete;
  Fiber& operator=(const Fiber&) = delete;

  /// Runs until it leaves or its body ends; from outside only.
  void enter();
  /// Back to enter(); from inside only.
  void leave();
  bool ended() const { return !inner_; }

 private:
  boost::context::fiber inner_;
  boost::context::fiber outer_;
  void* stack_;
  // Of the sanitizer: the stack that entered.
  void* fake_inside_ = nullptr;
  const void* outer_bottom_ = nullptr;
  std::size_t outer_bytes_ = 0;
};

}  // namespace mg::cuda_on_host
