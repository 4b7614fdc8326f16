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
      codes_(other.codes_),
      own_(std::move(other.own_)),
      holders_(std::exchange(other.holders_, nullptr)),
      mutex_(other.mutex_) {}

Lease::~Lease() {
  if (holders_ != nullptr) {
    const std::lock_guard lock(*mutex_);
    --*holders_;
  }
}

Stored Lease::stored() const {
  MG_CHECK(!codes_, "what is read as it is stored was announced without codes");
  return {data_, dtype_};
}

void Lease::convert_rows(std::int64_t begin, std::int64_t count, std::int64_t cols, void* out,
                         std::int64_t stride, Element element, cudaStream_t stream) const {
  if (codes_) {
    codes_->decode(begin, count, out, stride, element, stream);
    return;
  }
  const auto* from = static_cast<const std::byte*>(data_) + begin * cols * dtype_bits(dtype_) / 8;
  convert({from, dtype_}, count, cols, out, stride, element, stream);
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
      if (entry->codes.empty()) {
        entry->codes = weight.codes;
      }
    }
  }
  changed_.notify_all();
}

void WeightStore::forget(std::span<const Weight> weights) {
  std::unique_lock lock(mutex_);
  for (const Weight& weight : weights) {
    const auto found = entries_.find(key_of(weight.values));
    if (weight.empty() || found == entries_.end()) {
      continue;
    }
    Entry& entry = *found->second;
    const bool last = --entry.announced == 0;
    if (!last && entry.codes.empty()) {
      continue;  // the others' bytes are the same
    }
    // The bytes may be gone after this call, the values' of codes though others hold the codes: an
    // upload that has begun must have read them.
    changed_.wait(lock, [&] { return entry.state != State::kUploading; });
    if (!last) {
      continue;
    }
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
    const Parcel parcel = parcel_of_entry(entry);
    lock.unlock();
    Memory memory;
    std::exception_ptr failure;
    try {
      memory = device_.take(parcel.bytes, device_.upload());
      if (!memory.empty()) {
        send(parcel, memory.data());
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

Parcel WeightStore::parcel_of_entry(Entry& entry) {
  entry.raw_is_codes = !entry.codes.empty();
  return entry.raw_is_codes ? parcel_of(entry.codes) : parcel_of(entry.view);
}

void WeightStore::send(const Parcel& parcel, void* to) {
  const std::lock_guard lock(sending_);
  for (std::size_t begin = 0; begin < parcel.bytes; begin += kSlotBytes) {
    if (slots_.size() < 2) {
      slots_.emplace_back(kSlotBytes);
    }
    Pinned& slot = slots_[next_slot_ % slots_.size()];
    ++next_slot_;
    slot.last_copy().wait();
    const std::size_t count = std::min(kSlotBytes, parcel.bytes - begin);
    for (const Parcel::Part& part : parcel.parts) {
      const std::size_t first = std::max(begin, part.at);
      const std::size_t last = std::min(begin + count, part.at + part.bytes);
      if (first >= last) {
        continue;
      }
      copiers_.for_chunks(static_cast<std::int64_t>(last - first), kCopyGrain,
                          [&](std::int64_t from, std::int64_t end) {
                            std::memcpy(slot.data() + (first - begin) + from,
                                        part.from + (first - part.at) + from,
                                        static_cast<std::size_t>(end - from));
                          });
    }
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

void WeightStore::send_in_order(const Parcel& parcel, void* to, Event& uploaded) {
  // The memory is free once the compute stream has come here, and not before.
  uploaded.record(device_.compute());
  uploaded.hold(device_.upload());
  send(parcel, to);
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
  const Parcel parcel = parcel_of_entry(entry);
  lock.unlock();  // making room may evict
  Memory memory = device_.allocate(parcel.bytes, "making room for a weight");
  send_in_order(parcel, memory.data(), entry.uploaded);
  lock.lock();
  entry.raw = std::move(memory);
  entry.state = State::kHere;
}

Lease WeightStore::lease_of(Entry& entry) {
  Lease lease = lease_of(entry, entry.raw, entry.view.dtype);
  if (entry.raw_is_codes) {
    lease.codes_.emplace(entry.codes, entry.raw.data());
  }
  return lease;
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

Lease WeightStore::use(const Weight& weight) {
  const TensorView& view = weight.values;
  MG_CHECK(is_float(view.dtype), "a weight has a floating-point dtype");
  {
    std::unique_lock lock(mutex_);
    if (Entry* entry = find(view)) {
      bring(*entry, lock);
      return lease_of(*entry);
    }
  }
  const Parcel parcel = weight.codes.empty() ? parcel_of(view) : parcel_of(weight.codes);
  Lease lease;
  lease.own_ = device_.allocate(parcel.bytes, "making room for a weight");
  lease.data_ = lease.own_.data();
  lease.dtype_ = view.dtype;
  if (!weight.codes.empty()) {
    lease.codes_.emplace(weight.codes, lease.data_);
  }
  Event uploaded;
  send_in_order(parcel, lease.own_.data(), uploaded);
  return lease;
}

std::optional<Lease> WeightStore::resident(const TensorView& view) {
  std::unique_lock lock(mutex_);
  Entry* entry = find(view);
  if (entry == nullptr || entry->state == State::kAbsent || entry->failure ||
      !entry->codes.empty()) {
    return std::nullopt;
  }
  changed_.wait(
      lock, [&] { return entry->state != State::kQueued && entry->state != State::kUploading; });
  if (entry->raw.empty()) {
    return std::nullopt;
  }
  entry->uploaded.hold(device_.compute());
  return lease_of(*entry);
}

bool WeightStore::fits_as_stored(const Weight& weight) {
  {
    const std::lock_guard lock(mutex_);
    const Entry* entry = find(weight.values);
    const WeightCodes& codes = entry == nullptr ? weight.codes : entry->codes;
    if (!codes.empty()) {
      return false;
    }
  }
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
      const Lease raw = use(weight);  // given back before the lock is taken: it takes it too
      raw.convert_rows(0, view.dim(0), cols, converted.data(), stride, element_, device_.compute());
    }
    lock.lock();
    entry->converted = std::move(converted);
  }
  if (entry->holders == 0 && entry->state == State::kHere && !entry->raw_is_codes) {
    entry->raw = Memory();  // one form is enough
    entry->state = State::kAbsent;
  }
  return Prepared{lease_of(*entry, entry->converted, dtype_of(element_)), stride};
}

bool WeightStore::evict() {
  const std::lock_guard lock(mutex_);
  // Codes are a fraction of what is made of them, and go last.
  return evict(false) || evict(true);
}

bool WeightStore::evict(bool codes_too) {
  Entry* victim = nullptr;
  for (const auto& [key, entry] : entries_) {
    const bool raw = !entry->raw.empty() && (codes_too || !entry->raw_is_codes);
    const bool here = raw || !entry->converted.empty();
    if (here && entry->holders == 0 && entry->state != State::kUploading &&
        (victim == nullptr || entry->last_use > victim->last_use)) {
      victim = entry.get();
    }
  }
  if (victim == nullptr) {
    return false;
  }
  victim->converted = Memory();
  if (codes_too || !victim->raw_is_codes) {
    victim->raw = Memory();
    victim->state = State::kAbsent;
  }
  return true;
}

}  // namespace mg::cuda
