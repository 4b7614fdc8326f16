// A fixed set of worker threads and a deterministic parallel loop.
// Work is cut by `grain` alone, never by the number of threads, so a caller that reduces per chunk
// gets the same bits for any thread count.  Not for: nested loops (an inner loop runs on the
// calling thread).
#pragma once

#include <cstdint>
#include <functional>
#include <memory>

namespace mg {

class ThreadPool {
 public:
  /// `threads` >= 1 counts the calling thread; 0 takes one per core this process may run on.
  explicit ThreadPool(int threads);
  ~ThreadPool();
  ThreadPool(const ThreadPool&) = delete;
  ThreadPool& operator=(const ThreadPool&) = delete;

  int threads() const;

  /// Calls `body(begin, end)` for [0,grain), [grain,2*grain), ... up to n, in any order and on any
  /// thread, and returns when all are done.  The first exception of a chunk is rethrown here, after
  /// the others ended.
  void for_chunks(std::int64_t n, std::int64_t grain,
                  const std::function<void(std::int64_t begin, std::int64_t end)>& body);

 private:
  struct State;
  std::unique_ptr<State> state_;
};

}  // namespace mg
