// The work unit is a task: a run of strips. masked_conv_pack lays the weights out first; its unit is a block.
#include "masked_conv_plan.h"
#include "pixel_copies.h"

namespace genpipe {
namespace {

#if defined(__AVX512F__)
constexpr int kTileRows = 8;  // 8 by 3 sums, 3 vectors of pixels, 1 weight: 28 registers of 32
#else
constexpr int kTileRows = 4;  // 4 by 3, 3 and 1: 16 of 16
#endif
constexpr int kTileVectors = 3;

// The weights of each block in the order in which its tiles read them: chunk, tap, source, kBlock targets.
template <class T>
GENPIPE_FN void pack(const MaskedConvArgs& a, int64_t begin, int64_t end) {
  typedef compute_t<T> C;
  ConvPlan plan = conv_plan(a);
  int64_t taps = a.mask.taps, kernel = a.shape.kernel_height * a.shape.kernel_width;
  // From one weight to the next along targets and along sources.
  int64_t along_out = a.shape.in_channels * kernel;
  int64_t target_step = a.transposed ? kernel : along_out, source_step = a.transposed ? along_out : kernel;
  for (int64_t block = begin; block < end; ++block) {
    int64_t group = block / plan.group_blocks, within = block % plan.group_blocks * kBlock;
    int64_t rows = min(kBlock, plan.group_targets - within);
    const T* weight = static_cast<const T*>(a.weight) + (group * plan.group_targets + within) * target_step;
    for (int64_t chunk = 0; chunk < plan.chunks; ++chunk) {
      C* panel = static_cast<C*>(a.panels) + (block * plan.sources + chunk * plan.chunk) * taps * kBlock;
      for_each_step(a, plan, group, chunk, [&](int64_t tap, int64_t source) {
        const T* from = weight + source * source_step + tap;
        for (int64_t row = 0; row < kBlock; ++row) *panel++ = row < rows ? load(from + row * target_step) : C(0);
      });
    }
  }
}

// What a tile sums over: for each step the place of its source pixels, and kBlock weights.
template <class C>
struct Steps {
  const int64_t* offsets;
  int64_t count;
  const C* panel;
};

// Where a tile's sums start from and go to. Those of all chunks but the last stay in `partial`.
template <class C>
struct TileEnds {
  C* partial;         // kTilePixels from row to row
  const C* bias;      // of each row; null after the first chunk
  void* out;          // the strip's first pixel in the tile's first row; null before the last chunk
  int64_t out_pitch;
  const VectorPixels* pixels;
};

template <class T, int R, int N>
__attribute__((noinline)) static void tile(const compute_t<T>* pixels, const Steps<compute_t<T>>& steps,
                                           const TileEnds<compute_t<T>>& ends) {
  typedef compute_t<T> C;
  typedef Vector<C> Vec;
  typename Vec::V sums[R][N];
#pragma GCC unroll 8
  for (int r = 0; r < R; ++r) {
#pragma GCC unroll 4
    for (int n = 0; n < N; ++n) {
      sums[r][n] = ends.bias != nullptr ? Vec::fill(ends.bias[r])
                                        : Vec::load(ends.partial + r * kTilePixels + n * Vec::kWidth);
    }
  }
  const C* weight = steps.panel;
  for (const int64_t *offset = steps.offsets, *end = offset + steps.count; offset < end; ++offset, weight += kBlock) {
    const C* source = pixels + *offset;
    typename Vec::V x[N];
#pragma GCC unroll 4
    for (int n = 0; n < N; ++n) x[n] = Vec::load(source + n * Vec::kWidth);
#pragma GCC unroll 8
    for (int r = 0; r < R; ++r) {
      typename Vec::V w = Vec::fill(weight[r]);
#pragma GCC unroll 4
      for (int n = 0; n < N; ++n) sums[r][n] = Vec::fma(w, x[n], sums[r][n]);
    }
  }
  bool direct = sizeof(T) == sizeof(C) && ends.out != nullptr;
#pragma GCC unroll 8
  for (int r = 0; r < R; ++r) {
#pragma GCC unroll 4
    for (int n = 0; n < N; ++n) {
      if (direct) {
        C* out = static_cast<C*>(ends.out) + r * ends.out_pitch + ends.pixels[n].offset;
        Vec::store_lanes(out, sums[r][n], uint32_t(ends.pixels[n].lanes));
      } else {
        Vec::store(ends.partial + r * kTilePixels + n * Vec::kWidth, sums[r][n]);
      }
    }
  }
  if (direct || ends.out == nullptr) return;
  for (int r = 0; r < R; ++r) {
    for (int n = 0; n < N; ++n) {
      T* out = static_cast<T*>(ends.out) + r * ends.out_pitch + ends.pixels[n].offset;
      for (int lane = 0; lane < Vec::kWidth; ++lane) {
        if ((ends.pixels[n].lanes >> lane) & 1u) store(out++, ends.partial[r * kTilePixels + n * Vec::kWidth + lane]);
      }
    }
  }
}

template <class T, int N>
GENPIPE_FN void tile_of_rows(int64_t rows, const compute_t<T>* pixels, const Steps<compute_t<T>>& steps,
                             const TileEnds<compute_t<T>>& ends) {
  switch (rows) {
    case 1: return tile<T, 1, N>(pixels, steps, ends);
    case 2: return tile<T, 2, N>(pixels, steps, ends);
    case 3: return tile<T, 3, N>(pixels, steps, ends);
    case 4: return tile<T, 4, N>(pixels, steps, ends);
#if defined(__AVX512F__)
    case 5: return tile<T, 5, N>(pixels, steps, ends);
    case 6: return tile<T, 6, N>(pixels, steps, ends);
    case 7: return tile<T, 7, N>(pixels, steps, ends);
    case 8: return tile<T, 8, N>(pixels, steps, ends);
#endif
  }
}

template <class T>
GENPIPE_FN void tile_of(int64_t rows, int64_t vectors, const compute_t<T>* pixels, const Steps<compute_t<T>>& steps,
                        const TileEnds<compute_t<T>>& ends) {
  switch (vectors) {
    case 1: return tile_of_rows<T, 1>(rows, pixels, steps, ends);
    case 2: return tile_of_rows<T, 2>(rows, pixels, steps, ends);
    case 3: return tile_of_rows<T, 3>(rows, pixels, steps, ends);
  }
}

// What a task keeps from strip to strip.
template <class C>
struct Scratch {
  C *copy, *partial, *bias;
  int64_t *steps, *counts;  // [group][chunk]
  VectorPixels* pixels;
};

template <class T>
GENPIPE_FN Scratch<compute_t<T>> prepare(const MaskedConvArgs& a, const ConvPlan& plan, int64_t task) {
  typedef compute_t<T> C;
  Scratch<C> own;
  own.copy = static_cast<C*>(a.scratch) + task * conv_scratch_numbers(a);
  own.partial = own.copy + plan.sources * plan.copied.pitch;
  own.bias = own.partial + plan.blocks * kBlock * kTilePixels;
  own.steps = reinterpret_cast<int64_t*>(own.bias + plan.blocks * kBlock);
  own.counts = own.steps + plan.groups * plan.sources * a.mask.taps;
  own.pixels = reinterpret_cast<VectorPixels*>(own.counts + plan.groups * plan.chunks);
  for (int64_t block = 0; block < plan.blocks; ++block) {
    int64_t within = block % plan.group_blocks * kBlock;
    const T* bias = static_cast<const T*>(a.bias) + block / plan.group_blocks * plan.group_targets + within;
    for (int64_t row = 0; row < kBlock; ++row) {
      bool given = a.bias != nullptr && within + row < plan.group_targets;
      own.bias[block * kBlock + row] = given ? load(bias + row) : C(0);
    }
  }
  for (int64_t group = 0; group < plan.groups; ++group) {
    for (int64_t chunk = 0; chunk < plan.chunks; ++chunk) {
      int64_t* first = own.steps + (group * plan.sources + chunk * plan.chunk) * a.mask.taps;
      int64_t* step = first;
      for_each_step(a, plan, group, chunk, [&](int64_t tap, int64_t source) {
        int64_t shift = tap_row(a.shape, tap) * plan.copied.width + tap_column(a.shape, tap);
        *step++ = source * plan.copied.pitch + (a.transposed ? -shift : shift);
      });
      own.counts[group * plan.chunks + chunk] = step - first;
    }
  }
  return own;
}

// Where the pixels of a strip of `rows` go; gives the number of vectors.
template <class C>
GENPIPE_FN int64_t place_pixels(const MaskedConvArgs& a, const ConvPlan& plan, int64_t rows, VectorPixels* pixels) {
  // The gap after the last row is left out.
  int64_t numbers = rows * plan.copied.width - reach_columns(a.shape), column = 0, offset = 0;
  for (int64_t first = 0; first < numbers; first += Vector<C>::kWidth, ++pixels) {
    *pixels = VectorPixels{offset, 0};
    for (int64_t lane = 0; lane < min(Vector<C>::kWidth, numbers - first); ++lane) {
      if (column < a.shape.width) {
        pixels->lanes |= uint64_t(1) << lane;
        ++offset;
      }
      if (++column == plan.copied.width) column = 0;
    }
  }
  return ceil_div(numbers, Vector<C>::kWidth);
}

template <class T>
GENPIPE_FN void convolve_strip(const MaskedConvArgs& a, const ConvPlan& plan, const Scratch<compute_t<T>>& own,
                               int64_t rows, const compute_t<T>* pixels, T* out) {
  typedef compute_t<T> C;
  int64_t area = a.shape.height * a.shape.width, taps = a.mask.taps;
  int64_t vectors = place_pixels<C>(a, plan, rows, own.pixels);
  for (int64_t vector = 0; vector < vectors; vector += kTileVectors) {
    for (int64_t chunk = 0; chunk < plan.chunks; ++chunk) {
      for (int64_t block = 0; block < plan.blocks; ++block) {
        int64_t group = block / plan.group_blocks, within = block % plan.group_blocks * kBlock;
        Steps<C> steps{own.steps + (group * plan.sources + chunk * plan.chunk) * taps,
                       own.counts[group * plan.chunks + chunk],
                       static_cast<const C*>(a.panels) + (block * plan.sources + chunk * plan.chunk) * taps * kBlock};
        int64_t block_rows = min(kBlock, plan.group_targets - within);
        for (int64_t row = 0; row < block_rows; row += kTileRows, steps.panel += kTileRows) {
          TileEnds<C> ends{own.partial + (block * kBlock + row) * kTilePixels,
                           chunk == 0 ? own.bias + block * kBlock + row : nullptr, nullptr, area, own.pixels + vector};
          if (chunk == plan.chunks - 1) ends.out = out + (group * plan.group_targets + within + row) * area;
          tile_of<T>(min(kTileRows, block_rows - row), min(kTileVectors, vectors - vector),
                     pixels + vector * Vector<C>::kWidth, steps, ends);
        }
      }
    }
  }
}

template <class T>
GENPIPE_FN void convolve(const MaskedConvArgs& a, int64_t begin, int64_t end) {
  ConvPlan plan = conv_plan(a);
  int64_t area = a.shape.height * a.shape.width, reach = reach_rows(a.shape), above = a.transposed ? 0 : reach;
  for (int64_t task = begin; task < end; ++task) {
    Scratch<compute_t<T>> own = prepare<T>(a, plan, task);
    for (int64_t unit = task * plan.units / a.tasks; unit < (task + 1) * plan.units / a.tasks; ++unit) {
      int64_t image = unit / plan.strips, first = unit % plan.strips * a.strip_rows;
      int64_t rows = min(a.strip_rows, a.shape.height - first);
      const T* x = static_cast<const T*>(a.x) + image * plan.sources * area;
      T* out = static_cast<T*>(a.out) + image * plan.targets * area + first * a.shape.width;
      copy_padded(x, plan.sources, a.shape.height, a.shape.width, first - above, rows + reach, plan.copied, own.copy);
      convolve_strip(a, plan, own, rows, own.copy + plan.copied.margin + above * plan.copied.width, out);
    }
  }
}

}  // namespace

namespace GENPIPE_VARIANT {

void masked_conv_pack(const MaskedConvArgs& a, int64_t begin, int64_t end) {
  dispatch_dtype(a.dtype, [&](auto t) { pack<decltype(t)>(a, begin, end); });
}

void masked_conv(const MaskedConvArgs& a, int64_t begin, int64_t end) {
  dispatch_dtype(a.dtype, [&](auto t) { convolve<decltype(t)>(a, begin, end); });
}

}  // namespace GENPIPE_VARIANT
}  // namespace genpipe
