#include "harness/io/decoded_memory.h"

#include <sys/mman.h>

#include <cerrno>
#include <cstring>

#include "kernels/core/error.h"

namespace mg {
namespace {

// Large copies start at the size of a huge page, so that the kernel may map them by such: a tenth
// of the faults.
constexpr std::size_t kPage = 4096;
constexpr std::size_t kHugePage = std::size_t{2} << 20;

std::size_t round_up(std::size_t value, std::size_t unit) {
  return (value + unit - 1) / unit * unit;
}

[[noreturn]] void fail(const std::string& owner, std::size_t bytes) {
  throw Error({.code = "memory.reserve",
               .what = "no room for the dequantised copy of a weight",
               .where = owner,
               .expected = std::to_string(bytes) + " bytes of address space",
               .actual = std::strerror(errno),
               .hint = "raise the limit (ulimit -v), or run on a machine with more memory"});
}

}  // namespace

DecodedMemory::DecodedMemory(const std::vector<std::size_t>& bytes, const std::string& owner)
    : slots_(bytes.size()), owner_(owner) {
  for (const std::size_t size : bytes) {
    bytes_ = size >= kHugePage ? round_up(bytes_, kHugePage) : bytes_;
    offsets_.push_back(bytes_);
    bytes_ += round_up(size, kPage);
  }
  offsets_.push_back(bytes_);
  if (bytes_ == 0) {
    return;
  }
  void* begin = mmap(nullptr, bytes_ + kHugePage, PROT_NONE,
                     MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
  if (begin == MAP_FAILED) {
    fail(owner_, bytes_);
  }
  auto* first = static_cast<std::byte*>(begin);
  const std::size_t skip = round_up(reinterpret_cast<std::size_t>(first), kHugePage) -
                           reinterpret_cast<std::size_t>(first);
  begin_ = first + skip;
  if (skip > 0) {
    munmap(first, skip);
  }
  if (skip < kHugePage) {
    munmap(begin_ + bytes_, kHugePage - skip);
  }
  madvise(begin_, bytes_, MADV_HUGEPAGE);  // refused: small pages serve
}

DecodedMemory::~DecodedMemory() {
  if (begin_ != nullptr) {
    munmap(begin_, bytes_);
  }
}

void DecodedMemory::open(std::size_t index) const {
  const std::size_t bytes = offsets_[index + 1] - offsets_[index];
  if (mprotect(address(index), bytes, PROT_READ | PROT_WRITE) != 0) {
    fail(owner_, bytes);
  }
}

void DecodedMemory::close(std::size_t index) const {
  const std::size_t bytes = offsets_[index + 1] - offsets_[index];
  madvise(address(index), bytes, MADV_DONTNEED);
  mprotect(address(index), bytes, PROT_NONE);
}

DecodedHold DecodedMemory::hold(std::size_t index, const std::function<void(std::byte*)>& fill) {
  Slot& slot = slots_[index];
  const std::lock_guard lock(slot.mutex);
  if (DecodedHold held = slot.held.lock()) {
    return held;
  }
  open(index);
  fill(address(index));
  ++fills_;
  // The deleter runs when the last holder goes, maybe while another asks anew: it takes the lock
  // and looks whether somebody filled the range again meanwhile.
  DecodedHold held(address(index), [this, index](const void*) {
    Slot& mine = slots_[index];
    const std::lock_guard closing(mine.mutex);
    if (mine.held.expired()) {
      close(index);
    }
  });
  slot.held = held;
  return held;
}

}  // namespace mg
