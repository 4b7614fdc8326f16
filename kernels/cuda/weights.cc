#include "kernels/cuda/weights.h"

#include <algorithm>
#include <cstring>
#include <utility>

#include "kernels/core/error.h"
#include "kernels/cuda/check.h"

namespace mg::cuda {
namespace {

constexpr std::size_t kSlotBytes = std::size_t{16} << 20;
constexpr std::int64_t kCopyGrain = std::int64_t{1} << 20;
constexpr int kMostCopiers = 4;  // threads that outrun a PCIe link together

std::pair<const std::byte*, std::size_t> key_of(const TensorView& view) {
  return {view.data, view.bytes};
}

}  // namespace

std::int64_t aligned_stride(std::int64_t cols, Element element) {
  const std::int64_t unit = 16 / element_bytes(element);
  return (cols + unit - 1) / unit * unit;
}

DType dtype_of(Element element) {
  return element == Element::kF32   ? DType::kF32
         : element == Element::kF16 ? DType::kF16
                                    : DType::kBF16;
}

Lease::Lease(Lease&& other) noexcept
    : data_(other.data_),
      dtype_(other.dtype_),
      own_(std::move(other.own_)),
      holders_(std::exchange(other.holders_, nullptr)),
      mutex_(other.mutex_) {}

Lease::~Lease() {
  if (holders_ != nullptr) {
    const std::lock_guard lock(*mutex_);
    --*holders_;
  }
}

WeightStore::WeightStore(Device& device, Element element, int threads)
    : device_(device),
      element_(element),
      copiers_(std::min(threads, kMostCopiers)),
      worker_([this] { work(); }) {
  device_.set_reclaim([this] { return evict(); });
}

WeightStore::~WeightStore() {
  {
    const std::lock_guard lock(mutex_);
    stopping_ = true;
  }
  changed_.notify_all();
  worker_.join();
  device_.set_reclaim(nullptr);
}

void WeightStore::announce(std::span<const Weight> weights) {
  {
    const std::lock_guard lock(mutex_);
    for (const Weight& weight : weights) {
      if (weight.empty() || weight.values.bytes == 0) {
        continue;
      }
      std::unique_ptr<Entry>& entry = entries_[key_of(weight.values)];
      if (entry == nullptr) {
        entry = std::make_unique<Entry>();
        entry->view = weight.values;
        queue_.push_back(entry.get());
      }
      ++entry->announced;
    }
  }
  changed_.notify_all();
}

void WeightStore::forget(std::span<const Weight> weights) {
  std::unique_lock lock(mutex_);
  for (const Weight& weight : weights) {
    const auto found = entries_.find(key_of(weight.values));
    if (weight.empty() || found == entries_.end() || --found->second->announced > 0) {
      continue;
    }
    Entry& entry = *found->second;
    // The bytes may be gone after this call: an upload that has begun must have read them.
    changed_.wait(lock, [&] { return entry.state != State::kUploading; });
    std::erase(queue_, &entry);
    entries_.erase(found);
  }
}

void WeightStore::work() {
  device_.choose();
  std::unique_lock lock(mutex_);
  while (true) {
    changed_.wait(lock, [&] { return stopping_ || !queue_.empty(); });
    if (stopping_) {
      return;
    }
    Entry& entry = *queue_.front();
    queue_.pop_front();
    entry.state = State::kUploading;
    lock.unlock();
    Memory memory;
    std::exception_ptr failure;
    try {
      memory = device_.take(entry.view.bytes, device_.upload());
      if (!memory.empty()) {
        send(entry.view, memory.data());
        entry.uploaded.record(device_.upload());
      }
    } catch (...) {
      failure = std::current_exception();
    }
    lock.lock();
    // Too little memory: uploaded when used, once others have made room.
    entry.state = memory.empty() || failure ? State::kAbsent : State::kHere;
    entry.raw = std::move(memory);
    entry.failure = failure;
    changed_.notify_all();
  }
}

void WeightStore::send(const TensorView& view, void* to) {
  const std::lock_guard lock(sending_);
  for (std::size_t begin = 0; begin < view.bytes; begin += kSlotBytes) {
    if (slots_.size() < 2) {
      slots_.emplace_back(kSlotBytes);
    }
    Pinned& slot = slots_[next_slot_ % slots_.size()];
    ++next_slot_;
    slot.last_copy().wait();
    const std::size_t count = std::min(kSlotBytes, view.bytes - begin);
    copiers_.for_chunks(static_cast<std::int64_t>(count), kCopyGrain,
                        [&](std::int64_t from, std::int64_t end) {
                          std::memcpy(slot.data() + from, view.data + begin + from,
                                      static_cast<std::size_t>(end - from));
                        });
    check(cudaMemcpyAsync(static_cast<std::byte*>(to) + begin, slot.data(), count,
                          cudaMemcpyHostToDevice, device_.upload()),
          "uploading a weight", count, "bytes");
    slot.last_copy().record(device_.upload());
  }
}

WeightStore::Entry* WeightStore::find(const TensorView& view) {
  const auto found = entries_.find(key_of(view));
  return found == entries_.end() ? nullptr : found->second.get();
}

void WeightStore::send_in_order(const TensorView& view, void* to, Event& uploaded) {
  // The memory is free once the compute stream has come here, and not before.
  uploaded.record(device_.compute());
  uploaded.hold(device_.upload());
  send(view, to);
  uploaded.record(device_.upload());
  uploaded.hold(device_.compute());
}

void WeightStore::bring(Entry& entry, std::unique_lock<std::mutex>& lock) {
  changed_.wait(lock,
                [&] { return entry.state != State::kQueued && entry.state != State::kUploading; });
  if (entry.failure) {
    std::rethrow_exception(std::exchange(entry.failure, nullptr));
  }
  if (!entry.raw.empty()) {
    entry.uploaded.hold(device_.compute());
    return;
  }
  lock.unlock();  // making room may evict
  Memory memory = device_.allocate(entry.view.bytes, "making room for a weight");
  send_in_order(entry.view, memory.data(), entry.uploaded);
  lock.lock();
  entry.raw = std::move(memory);
  entry.state = State::kHere;
}

Lease WeightStore::lease_of(Entry& entry, const Memory& memory, DType dtype) {
  Lease lease;
  lease.data_ = memory.data();
  lease.dtype_ = dtype;
  lease.holders_ = &entry.holders;
  lease.mutex_ = &mutex_;
  ++entry.holders;
  entry.last_use = ++clock_;
  return lease;
}

Lease WeightStore::use(const TensorView& view) {
  MG_CHECK(is_float(view.dtype), "a weight has a floating-point dtype");
  {
    std::unique_lock lock(mutex_);
    if (Entry* entry = find(view)) {
      bring(*entry, lock);
      return lease_of(*entry, entry->raw, view.dtype);
    }
  }
  Lease lease;
  lease.own_ = device_.allocate(view.bytes, "making room for a weight");
  lease.data_ = lease.own_.data();
  lease.dtype_ = view.dtype;
  Event uploaded;
  send_in_order(view, lease.own_.data(), uploaded);
  return lease;
}

std::optional<Lease> WeightStore::resident(const TensorView& view) {
  std::unique_lock lock(mutex_);
  Entry* entry = find(view);
  if (entry == nullptr || entry->state == State::kAbsent || entry->failure) {
    return std::nullopt;
  }
  changed_.wait(
      lock, [&] { return entry->state != State::kQueued && entry->state != State::kUploading; });
  if (entry->raw.empty()) {
    return std::nullopt;
  }
  entry->uploaded.hold(device_.compute());
  return lease_of(*entry, entry->raw, view.dtype);
}

bool WeightStore::fits_as_stored(const Weight& weight) const {
  const std::int64_t row = weight.values.dim(1);
  return weight.values.dtype == dtype_of(element_) && row == aligned_stride(row, element_);
}

std::optional<Prepared> WeightStore::prepared(const Weight& weight) {
  const TensorView& view = weight.values;
  const std::int64_t cols = view.dim(1);
  const std::int64_t stride = aligned_stride(cols, element_);
  std::unique_lock lock(mutex_);
  Entry* entry = find(view);
  if (entry == nullptr) {
    return std::nullopt;
  }
  if (entry->converted.empty()) {
    lock.unlock();
    Memory converted =
        device_.take(static_cast<std::size_t>(view.dim(0) * stride * element_bytes(element_)),
                     device_.compute());
    if (converted.empty()) {
      return std::nullopt;  // a piece at a time, then
    }
    {
      const Lease raw = use(view);  // given back before the lock is taken: it takes it too
      convert(raw.stored(), view.dim(0), cols, converted.data(), stride, element_,
              device_.compute());
    }
    lock.lock();
    entry->converted = std::move(converted);
  }
  if (entry->holders == 0 && entry->state == State::kHere) {
    entry->raw = Memory();  // one form is enough
    entry->state = State::kAbsent;
  }
  return Prepared{lease_of(*entry, entry->converted, dtype_of(element_)), stride};
}

bool WeightStore::evict() {
  const std::lock_guard lock(mutex_);
  Entry* victim = nullptr;
  for (const auto& [key, entry] : entries_) {
    const bool here = !entry->raw.empty() || !entry->converted.empty();
    if (here && entry->holders == 0 && entry->state != State::kUploading &&
        (victim == nullptr || entry->last_use > victim->last_use)) {
      victim = entry.get();
    }
  }
  if (victim == nullptr) {
    return false;
  }
  victim->raw = Memory();
  victim->converted = Memory();
  victim->state = State::kAbsent;
  return true;
}

}  // namespace mg::cuda
