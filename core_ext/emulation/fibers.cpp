// Runs a grid block by block. A fiber runs threads to their ends, one after the other; a thread that has to wait keeps
// its fiber, and another fiber goes on with the threads that have not begun. A kernel without barriers needs one.
//
// Threads begin in rising order in one block and in falling order in the next: what a missing barrier hides in one
// order, it shows in the other.
#include <stdlib.h>
#include <sys/mman.h>

#include <deque>
#include <mutex>
#include <sstream>
#include <string>
#include <vector>

#include "cuda_runtime.h"

uint3 threadIdx, blockIdx;
dim3 blockDim, gridDim;

namespace genpipe {
namespace emulation {
namespace {

constexpr size_t kStackBytes = 256 << 10;
constexpr size_t kMaxSharedBytes = 227 << 10;  // a block's on sm_90

struct Thread {
  enum { unbegun, running, at_barrier, at_warp, left } state = unbegun;
  struct Fiber* fiber = nullptr;
  Place place = {};
  unsigned mask = 0;  // at_warp: the lanes that it waits for, what it brings, and whose value it takes
  uint64_t value = 0;
  int source = 0;
};

struct Fiber {
  void* stack_pointer = nullptr;
  int thread = -1;  // the one that it runs
};

// A kernel that runs, and its block that runs.
struct {
  const char* kernel;
  void (*thread)(const void*);
  const void* body;
  void* dynamic_shared;
  std::vector<Thread> threads;
  int num_begun, num_left, num_at_barrier;
  bool falling;
} now;

std::mutex one_launch;
cudaError_t last_error = cudaSuccess;
std::string failure;

Fiber caller;               // of run()
Fiber* current = &caller;
std::deque<Fiber*> ready;   // whose threads can go on
std::vector<Fiber*> idle;   // that have no thread

// Pushes what a call preserves, changes the stack, and pops what was pushed there.
__attribute__((naked, noipa)) void change_stack(void** /*from*/, void* /*to*/) {
  asm("pushq %rbp\n pushq %rbx\n pushq %r12\n pushq %r13\n pushq %r14\n pushq %r15\n"
      "movq %rsp, (%rdi)\n movq %rsi, %rsp\n"
      "popq %r15\n popq %r14\n popq %r13\n popq %r12\n popq %rbx\n popq %rbp\n ret\n");
}

Fiber* new_fiber(void (*entry)()) {
  void* stack = mmap(nullptr, kStackBytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  if (stack == MAP_FAILED) abort();
  mprotect(stack, 4096, PROT_NONE);  // where a stack that overflows stops
  void** top = reinterpret_cast<void**>(static_cast<char*>(stack) + kStackBytes) - 2;
  top[0] = reinterpret_cast<void*>(entry);  // where the first change_stack returns to; below it, its six registers
  return new Fiber{top - 6};
}

void switch_to(Fiber* to) {
  Fiber* from = current;
  if (from != to) {
    current = to;
    change_stack(&from->stack_pointer, to->stack_pointer);
  }
  if (from->thread >= 0) {  // here again, to go on with it
    unsigned i = from->thread, x = blockDim.x, y = blockDim.y;
    threadIdx = {i % x, i / x % y, i / (x * y)};
  }
}

int num_threads() { return int(now.threads.size()); }

bool same(Place a, Place b) { return a.line == b.line && strcmp(a.file, b.file) == 0; }

std::string text_of(Place place) {
  const char* slash = strrchr(place.file, '/');
  return (slash ? slash + 1 : place.file) + (":" + std::to_string(place.line));
}

// What the threads of the block do, runs of equals together.
std::string whereabouts() {
  std::ostringstream text;
  std::string last;
  for (int i = 0; i < num_threads(); ++i) {
    const Thread& thread = now.threads[i];
    std::string state = thread.state == Thread::left         ? "left"
                        : thread.state == Thread::at_barrier ? "wait at __syncthreads, " + text_of(thread.place)
                        : thread.state == Thread::at_warp    ? "wait for their warp, " + text_of(thread.place)
                        : thread.state == Thread::running    ? "run"
                                                             : "have not begun";
    if (state != last) text << (i ? "; " : "") << "from " << i << " on they " << state;
    last = state;
  }
  return text.str();
}

// What cudaGetLastError and cudaGetErrorString will say.
void report(cudaError_t code, const std::string& why) {
  last_error = code;
  failure = std::string(now.kernel) + ": " + why;
}

void work();

// The fiber that goes on: one whose thread can, else one for a thread that has not begun.
Fiber* choose() {
  if (!ready.empty()) {
    Fiber* next = ready.front();
    ready.pop_front();
    return next;
  }
  if (now.num_begun < num_threads()) {
    if (idle.empty()) return new_fiber(work);
    Fiber* next = idle.back();
    idle.pop_back();
    return next;
  }
  if (now.num_left < num_threads()) fail("the threads of a block wait for each other", {nullptr, 0});
  return &caller;
}

// What a fiber does: the threads that have not begun, as long as nobody else can go on.
void work() {
  for (;;) {
    int i = now.falling ? num_threads() - 1 - now.num_begun : now.num_begun;
    ++now.num_begun;
    Thread& thread = now.threads[i];
    thread.state = Thread::running;
    thread.fiber = current;
    current->thread = i;
    switch_to(current);  // sets threadIdx
    now.thread(now.body);
    thread.state = Thread::left;
    ++now.num_left;
    current->thread = -1;
    idle.push_back(current);
    switch_to(choose());
  }
}

void run_block() {
  now.threads.assign(blockDim.x * blockDim.y * blockDim.z, Thread());
  now.num_begun = now.num_left = now.num_at_barrier = 0;
  switch_to(choose());
}

}  // namespace

void fail(const char* why, Place place) {
  std::ostringstream text;
  text << "block (" << blockIdx.x << ", " << blockIdx.y << ", " << blockIdx.z << ")";
  if (place.file != nullptr) {
    text << ", thread " << current->thread << ", " << text_of(place) << ": " << why;
  } else {
    text << ": " << why << ": " << whereabouts();
  }
  report(cudaErrorLaunchFailure, text.str());
  ready.clear();
  idle.clear();  // their stacks stay as they are: nobody unwinds the threads that wait
  switch_to(&caller);
  abort();
}

void run(const char* kernel, dim3 grid, dim3 block, size_t shared_bytes, void (*thread)(const void*), const void* body) {
  std::lock_guard<std::mutex> lock(one_launch);
  now.kernel = kernel;
  uint64_t size = uint64_t(block.x) * block.y * block.z;
  if (size == 0 || size > 1024 || grid.x == 0 || grid.y == 0 || grid.z == 0 || grid.x > INT32_MAX || grid.y > 65535 ||
      grid.z > 65535 || shared_bytes > kMaxSharedBytes) {
    return report(cudaErrorInvalidConfiguration, "a launch that no GPU takes");
  }
  now.thread = thread;
  now.body = body;
  if (posix_memalign(&now.dynamic_shared, 16, shared_bytes) != 0) abort();  // on the heap: ASan watches its ends
  gridDim = grid;
  blockDim = block;
  cudaError_t before = last_error;
  last_error = cudaSuccess;
  for (blockIdx.z = 0; blockIdx.z < grid.z; ++blockIdx.z) {
    for (blockIdx.y = 0; blockIdx.y < grid.y; ++blockIdx.y) {
      for (blockIdx.x = 0; blockIdx.x < grid.x && last_error == cudaSuccess; ++blockIdx.x) {
        memset(now.dynamic_shared, 0xff, shared_bytes);  // NaN: nobody finds zeros by luck
        run_block();
        now.falling = !now.falling;
      }
    }
  }
  if (last_error == cudaSuccess) last_error = before;
  free(now.dynamic_shared);
}

void* dynamic_shared() { return now.dynamic_shared; }

int lane() { return current->thread % warpSize; }

void meet_block(Place place) {
  Thread& self = now.threads[current->thread];
  self.state = Thread::at_barrier;
  self.place = place;
  if (++now.num_at_barrier < num_threads()) return switch_to(choose());
  now.num_at_barrier = 0;
  for (Thread& other : now.threads) {
    if (!same(other.place, place)) fail("the threads of a block meet at different barriers", {nullptr, 0});
  }
  for (Thread& other : now.threads) {
    other.state = Thread::running;
    if (&other != &self) ready.push_back(other.fiber);
  }
}

uint64_t meet_warp(unsigned mask, uint64_t value, int source, Place place) {
  int first = current->thread / warpSize * warpSize, count = num_threads() - first;
  if (count < warpSize) mask &= (1u << count) - 1;  // a last warp that is not whole
  Thread* warp = &now.threads[first];
  Thread& self = warp[lane()];
  if (!(mask >> lane() & 1)) fail("its mask leaves itself out", place);
  if (!(mask >> source & 1)) fail("it shuffles from a lane that its mask leaves out", place);
  self.state = Thread::at_warp;
  self.place = place;
  self.mask = mask;
  self.value = value;
  self.source = source;
  uint64_t values[warpSize];
  for (int i = 0; i < warpSize; ++i) {
    if (!(mask >> i & 1)) continue;
    if (warp[i].state != Thread::at_warp || warp[i].mask != mask) {  // still to come
      switch_to(choose());
      return self.value;
    }
    if (!same(warp[i].place, place)) fail("the lanes of a warp meet at different lines", {nullptr, 0});
    values[i] = warp[i].value;
  }
  for (int i = 0; i < warpSize; ++i) {
    if (!(mask >> i & 1)) continue;
    warp[i].value = values[warp[i].source];
    warp[i].state = Thread::running;
    if (&warp[i] != &self) ready.push_back(warp[i].fiber);
  }
  return self.value;
}

}  // namespace emulation
}  // namespace genpipe

// An H100 with four multiprocessors, so that few threads fill it.
cudaError_t cudaDeviceGetAttribute(int* value, cudaDeviceAttr attribute, int) {
  *value = attribute == cudaDevAttrMultiProcessorCount            ? 4
           : attribute == cudaDevAttrComputeCapabilityMajor       ? 9
           : attribute == cudaDevAttrMaxSharedMemoryPerBlockOptin ? int(genpipe::emulation::kMaxSharedBytes)
                                                                  : 0;
  return cudaSuccess;
}

cudaError_t cudaGetLastError() {
  cudaError_t error = genpipe::emulation::last_error;
  genpipe::emulation::last_error = cudaSuccess;
  return error;
}

const char* cudaGetErrorString(cudaError_t error) {
  bool launch = error == cudaErrorInvalidConfiguration || error == cudaErrorLaunchFailure;
  return launch ? genpipe::emulation::failure.c_str() : "invalid value";
}
