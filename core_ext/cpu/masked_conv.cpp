// The work unit is a task: a run of strips. masked_conv_pack lays the weights out first; its unit is a block.
#include "masked_conv_plan.h"
#include "vector.h"

namespace genpipe {
namespace {

#if defined(__AVX512F__)
constexpr int kTileRows = 8;  // 8 by 3 sums, 3 pixels, 1 weight: 28 registers of 32
#else
constexpr int kTileRows = 4;  // 4 by 3, 3 and 1: 16 of 16
#endif
constexpr int kTileVectors = 3;

template <class T>
GENPIPE_FN void pack(const MaskedConvArgs& a, int64_t begin, int64_t end) {
  typedef compute_t<T> C;
  ConvPlan plan = conv_plan(a);
  int64_t taps = a.mask.taps, kernel = a.shape.kernel_height * a.shape.kernel_width;
  // From one weight to the next along targets and along sources.
  int64_t along_out = a.shape.in_channels * kernel;
  int64_t target_step = a.transposed ? kernel : along_out, source_step = a.transposed ? along_out : kernel;
  for (int64_t block = begin; block < end; ++block) {
    int64_t within = block % plan.group_blocks * kBlock;
    int64_t first = block / plan.group_blocks * plan.group_targets + within;
    int64_t rows = min(kBlock, plan.group_targets - within);
    C* out = static_cast<C*>(a.panels) + block * kBlock * plan.sources * taps;
    for (int64_t chunk = 0; chunk < plan.sources; chunk += plan.chunk) {
      int64_t stop = min(chunk + plan.chunk, plan.sources);
      for (int64_t tap = 0; tap < taps; ++tap) {
        for (int64_t source = chunk; source < stop; ++source, out += kBlock) {
          const T* weight = static_cast<const T*>(a.weight) + first * target_step + source * source_step + tap;
          for (int64_t row = 0; row < kBlock; ++row) out[row] = row < rows ? load(weight + row * target_step) : C(0);
        }
      }
    }
  }
}

// What every tile of a strip shares.
template <class C>
struct Strip {
  typedef typename Vector<C>::Mask Mask;
  const C* pixels;  // the strip's first, in channel 0 of its copy
  int64_t pitch;
  const PlannedTap* taps;
  int64_t num_taps, centre_tap;
  const Mask* masks;  // [column of the kernel][vector of the strip]
  int64_t mask_pitch;
  int64_t kernel_width;
};

// A pass over the sources [begin, end), of which the centre tap sees [centre.begin, centre.end).
struct Pass {
  int64_t begin, end;
  ChannelRange centre;
};

// sums[R][N] += weights * pixels over a pass; `panel` is the pass's part of a block's, at the tile's first row.
template <class C, int R, int N>
GENPIPE_FN void accumulate(const Strip<C>& strip, const Pass& pass, const C* panel, int64_t vector,
                           typename Vector<C>::V (&sums)[R][N]) {
  typedef Vector<C> Vec;
  const C* pixels = strip.pixels + vector * Vec::kWidth;
  int64_t sources = pass.end - pass.begin;
  for (int64_t i = 0; i < strip.num_taps; ++i) {
    const PlannedTap& tap = strip.taps[i];
    bool centre = tap.index == strip.centre_tap;
    int64_t begin = centre ? pass.centre.begin : pass.begin, end = centre ? pass.centre.end : pass.end;
    const C* weight = panel + (tap.index * sources + begin - pass.begin) * kBlock;
    const C* source = pixels + begin * strip.pitch + tap.offset;
    if (tap.column == 0) {
      for (int64_t k = begin; k < end; ++k, source += strip.pitch, weight += kBlock) {
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
    } else {
      const typename Vec::Mask* table = strip.masks + tap.index % strip.kernel_width * strip.mask_pitch + vector;
      typename Vec::Mask mask[N];
#pragma GCC unroll 4
      for (int n = 0; n < N; ++n) mask[n] = table[n];
      for (int64_t k = begin; k < end; ++k, source += strip.pitch, weight += kBlock) {
        typename Vec::V x[N];
#pragma GCC unroll 4
        for (int n = 0; n < N; ++n) x[n] = Vec::load(source + n * Vec::kWidth, mask[n]);
#pragma GCC unroll 8
        for (int r = 0; r < R; ++r) {
          typename Vec::V w = Vec::fill(weight[r]);
#pragma GCC unroll 4
          for (int n = 0; n < N; ++n) sums[r][n] = Vec::fma(w, x[n], sums[r][n]);
        }
      }
    }
  }
}

// Where a tile of R rows starts from and goes to. The sums of all passes but the last stay in `partial`.
template <class C>
struct TileEnds {
  C* partial;            // kTilePixels apart
  const C* bias;         // of the rows, in C; null after the first pass
  void* out;             // null before the last pass
  int64_t out_pitch, pixels;  // pixels: what of the tile lies in the strip
};

template <class T, int R, int N>
__attribute__((noinline)) static void tile(const Strip<compute_t<T>>& strip, const Pass& pass,
                                           const compute_t<T>* panel, int64_t vector,
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
  accumulate<C, R, N>(strip, pass, panel, vector, sums);
  bool whole = sizeof(T) == sizeof(C) && ends.out != nullptr && ends.pixels >= N * Vec::kWidth;
#pragma GCC unroll 8
  for (int r = 0; r < R; ++r) {
#pragma GCC unroll 4
    for (int n = 0; n < N; ++n) {
      C* to = whole ? static_cast<C*>(ends.out) + r * ends.out_pitch : ends.partial + r * kTilePixels;
      Vec::store(to + n * Vec::kWidth, sums[r][n]);
    }
  }
  if (ends.out == nullptr || whole) return;
  for (int r = 0; r < R; ++r) {
    T* out = static_cast<T*>(ends.out) + r * ends.out_pitch;
    for (int64_t i = 0; i < min(ends.pixels, N * Vec::kWidth); ++i) store(out + i, ends.partial[r * kTilePixels + i]);
  }
}

template <class T, int N>
GENPIPE_FN void tile_of_rows(int64_t rows, const Strip<compute_t<T>>& strip, const Pass& pass,
                             const compute_t<T>* panel, int64_t vector, const TileEnds<compute_t<T>>& ends) {
  switch (rows) {
    case 1: return tile<T, 1, N>(strip, pass, panel, vector, ends);
    case 2: return tile<T, 2, N>(strip, pass, panel, vector, ends);
    case 3: return tile<T, 3, N>(strip, pass, panel, vector, ends);
    case 4: return tile<T, 4, N>(strip, pass, panel, vector, ends);
#if defined(__AVX512F__)
    case 5: return tile<T, 5, N>(strip, pass, panel, vector, ends);
    case 6: return tile<T, 6, N>(strip, pass, panel, vector, ends);
    case 7: return tile<T, 7, N>(strip, pass, panel, vector, ends);
    case 8: return tile<T, 8, N>(strip, pass, panel, vector, ends);
#endif
  }
}

// Rows [first, first + rows) of every channel of an image, zeros where the image has none, `pitch` apart.
template <class T>
GENPIPE_FN void copy_rows(const T* image, const ConvShape& shape, int64_t channels, int64_t first, int64_t rows,
                          int64_t pitch, compute_t<T>* to) {
  int64_t begin = first < 0 ? min(-first, rows) : 0, end = larger_of(begin, min(rows, shape.height - first));
  for (int64_t channel = 0; channel < channels; ++channel, image += shape.height * shape.width, to += pitch) {
    for (int64_t i = 0; i < begin * shape.width; ++i) to[i] = 0;
    const T* from = image + first * shape.width;
    for (int64_t i = begin * shape.width; i < end * shape.width; ++i) to[i] = load(from + i);
    for (int64_t i = end * shape.width; i < rows * shape.width; ++i) to[i] = 0;
  }
}

// For each column of the kernel and each vector of a strip, the pixels that have a neighbour so far to their side.
template <class C>
GENPIPE_FN void column_masks(const MaskedConvArgs& a, int64_t vectors, typename Vector<C>::Mask* masks) {
  for (int64_t j = 0; j < a.shape.kernel_width; ++j) {
    int64_t shift = tap_column(a.shape, j);
    if (a.transposed) shift = -shift;
    int64_t column = 0;
    for (int64_t vector = 0; vector < vectors; ++vector) {
      uint32_t lanes = 0;
      for (int lane = 0; lane < Vector<C>::kWidth; ++lane) {
        lanes |= uint32_t(column + shift >= 0 && column + shift < a.shape.width) << lane;
        if (++column == a.shape.width) column = 0;
      }
      masks[j * vectors + vector] = Vector<C>::mask(lanes);
    }
  }
}

template <class T>
GENPIPE_FN void convolve(const MaskedConvArgs& a, int64_t begin, int64_t end) {
  typedef compute_t<T> C;
  typedef Vector<C> Vec;
  const ConvShape& shape = a.shape;
  ConvPlan plan = conv_plan(a);
  int64_t taps = a.mask.taps, area = shape.height * shape.width, reach = reach_rows(shape);
  int64_t above = a.transposed ? 0 : reach;
  int64_t tile_pixels = kTileVectors * Vec::kWidth;
  int64_t vectors = ceil_div(a.strip_rows * shape.width, tile_pixels) * kTileVectors;
  for (int64_t task = begin; task < end; ++task) {
    C* copy = static_cast<C*>(a.scratch) + task * conv_scratch_numbers(a);
    C* partial = copy + plan.sources * plan.pitch;
    C* bias = partial + plan.blocks * kBlock * kTilePixels;
    typename Vec::Mask* masks = reinterpret_cast<typename Vec::Mask*>(bias + plan.blocks * kBlock);
    PlannedTap* reachable = reinterpret_cast<PlannedTap*>(bias + plan.blocks * kBlock + conv_mask_numbers(a));
    column_masks<C>(a, vectors, masks);
    for (int64_t i = 0; i < plan.blocks * kBlock; ++i) {
      int64_t within = i % (plan.group_blocks * kBlock);
      int64_t target = i / (plan.group_blocks * kBlock) * plan.group_targets + within;
      bias[i] = a.bias != nullptr && within < plan.group_targets ? load(static_cast<const T*>(a.bias) + target) : C(0);
    }
    int64_t num_taps = 0;
    for (int64_t tap = 0; tap < taps; ++tap) {
      if (!tap_is_within(shape, tap)) continue;
      int64_t row = tap_row(shape, tap), column = tap_column(shape, tap);
      if (a.transposed) row = -row, column = -column;
      reachable[num_taps++] = PlannedTap{tap, row * shape.width + column, row, column};
    }
    Strip<C> strip{copy + plan.margin + above * shape.width, plan.pitch,          reachable, num_taps,
                   a.mask.centre_tap,                        masks,      vectors, shape.kernel_width};
    for (int64_t unit = task * plan.units / a.tasks; unit < (task + 1) * plan.units / a.tasks; ++unit) {
      int64_t image = unit / plan.strips, first = unit % plan.strips * a.strip_rows;
      int64_t rows = min(a.strip_rows, shape.height - first), pixels = rows * shape.width;
      copy_rows(static_cast<const T*>(a.x) + image * plan.sources * area, shape, plan.sources, first - above,
                rows + reach, plan.pitch, copy + plan.margin);
      T* out = static_cast<T*>(a.out) + image * plan.targets * area + first * shape.width;
      for (int64_t pixel = 0; pixel < pixels; pixel += tile_pixels) {
        for (int64_t source = 0; source < plan.sources; source += plan.chunk) {
          Pass pass{source, min(source + plan.chunk, plan.sources), {0, 0}};
          const C* panel = static_cast<const C*>(a.panels) + source * taps * kBlock;
          for (int64_t block = 0; block < plan.blocks; ++block, panel += plan.sources * taps * kBlock) {
            int64_t group = block / plan.group_blocks, within = block % plan.group_blocks * kBlock;
            ChannelRange centre =
                a.transposed ? centre_outputs(a.mask, shape, group) : centre_inputs(a.mask, shape, group);
            pass.centre = {larger_of(centre.begin, pass.begin), min(centre.end, pass.end)};
            for (int64_t row = 0; row < min(kBlock, plan.group_targets - within); row += kTileRows) {
              int64_t tile_rows = min(kTileRows, plan.group_targets - within - row);
              TileEnds<C> ends;
              ends.partial = partial + (block * kBlock + row) * kTilePixels;
              ends.bias = source == 0 ? bias + block * kBlock + row : nullptr;
              ends.out_pitch = area;
              ends.out = pass.end == plan.sources ? out + (group * plan.group_targets + within + row) * area + pixel : nullptr;
              ends.pixels = pixels - pixel;
              int64_t vector = pixel / Vec::kWidth;
              if (ends.pixels > 2 * Vec::kWidth) {
                tile_of_rows<T, 3>(tile_rows, strip, pass, panel + row, vector, ends);
              } else if (ends.pixels > Vec::kWidth) {
                tile_of_rows<T, 2>(tile_rows, strip, pass, panel + row, vector, ends);
              } else {
                tile_of_rows<T, 1>(tile_rows, strip, pass, panel + row, vector, ends);
              }
            }
          }
        }
      }
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
