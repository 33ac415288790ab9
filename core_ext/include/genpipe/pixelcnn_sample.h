// Samples images pixel by pixel through a causal network whose activations are kept, so that each is computed once.
//
// The network is a program: maps (what is kept), steps (how one place of a map follows from others) and taps (which
// places a convolution reads). Steps of rows depend on earlier rows alone and run for a whole row at its start; steps
// of pixels run place by place, a group of channels at a time (van den Oord et al., 2016, sec. 3.1), each group just
// before its channel is drawn.
//
// A sum over taps and channels is a chain of fused multiply-adds over at most kDotChunk channels of one tap; the chains
// are added in order to the bias, and the addend comes last. No width of a vector or size of a tile enters, so results
// are the same bits on every processor.
#pragma once

#include "genpipe/math.h"
#include "genpipe/random.h"

namespace genpipe {

constexpr int64_t kDotChunk = 32;  // channels that are summed in one chain
constexpr int64_t kPanel = 16;     // outputs that lie together in packed weights
constexpr int64_t kMaxTaps = 1024;  // of one step

enum PixelOp : int64_t { kConv, kGate, kGatedResidual, kConcatElu, kRelu, kNumPixelOps };

// All fields are int64: the program's tables are tensors, one row each.
struct PixelMap {
  int64_t channels;
  int64_t level;   // height and width are the image's divided by 2^level, rounded up
  int64_t depth;   // rows that are kept; row i lies in slot i % depth
  int64_t offset;  // where the map begins in an image's activations: after depth * width * channels of each map before
                   // it, rounded up to a multiple of 4
};

// dst[dst_channel ...] at (i, j) of its level, `count` channels:
//   kConv           bias + sum over taps of weights * src + addend
//   kGate           tanh(src[c]) * sigmoid(src[count + c])
//   kGatedResidual  addend[c] + src[c] * sigmoid(src[count + c])
//   kConcatElu      elu(src[c]), and elu(-src[c]) at count + c
//   kRelu           max(src[c], 0)
struct PixelStep {
  int64_t op;
  int64_t group;                            // -1: of rows; else the channel before whose drawing it runs
  int64_t dst, dst_channel;
  int64_t src, src_channel;
  int64_t count;
  int64_t addend, addend_channel;           // map -1: none
  int64_t weights, bias;                    // kConv: offsets into the weights; bias -1: none
  int64_t rows;                             // kConv: rows of the packed weights, over all taps
  int64_t first_tap, num_taps;
  int64_t scale;                            // src is read at (i, j) + tap for 0, 2 (i, j) + tap for 1 (strided), and
                                            // (i, j) / 2 + tap for -1 (upsampling)
  int64_t parity;                           // -1, or 2 (i % 2) + j % 2 of the places that it is for (upsampling)
};

struct PixelTap {
  int64_t dy, dx;    // dy <= 0
  int64_t channels;  // that are read: a prefix, so that channel groups multiply no dead weight
  int64_t row;       // where its rows begin in the packed weights (panels, rows, kPanel)
};

struct PixelcnnSampleArgs {
  const void* weights;  // of dtype
  const PixelMap* maps;
  const PixelStep* steps;
  const PixelTap* taps;
  DType dtype;  // float32 or float64
  int64_t num_maps, num_steps;  // steps of rows come first, then those of each group
  int64_t channels, height, width, levels;
  int64_t num_mixtures;  // 0: the last map holds logits (channels, levels); else mixtures of logistics
  int64_t num_groups;    // groups of channels that are drawn one after the other: channels for logits, else 1
  int64_t* out;          // (num, channels, height, width)
  int64_t num, first_index;
  PhiloxKey key;
  const int64_t* device_key;
  void* scratch;           // of dtype, for each worker `tile` times `activations`
  int64_t activations;     // numbers of one image's maps
  int64_t tile, workers;   // images that are sampled together; the work unit is a worker
};

GENPIPE_FN int64_t extent(int64_t size, int64_t level) { return (size + (int64_t(1) << level) - 1) >> level; }

// tanh(a) * sigmoid(b), to an absolute error of float's rounding; one division.
template <class T>
GENPIPE_FN T gate_unit(T a, T b) {
  T p = exp_decay(abs(a) + abs(a)), q = exp_decay(abs(b));
  T top = (T(1) - p) * select(b < T(0), q, T(1));
  T value = top / ((T(1) + p) * (T(1) + q));
  return select(a < T(0), -value, value);
}

template <class T>
GENPIPE_FN T gated_residual_unit(T x, T a, T b) {
  T q = exp_decay(abs(b));
  return fma(a, select(b < T(0), q, T(1)) / (T(1) + q), x);
}

template <class T>
GENPIPE_FN T elu(T x) {
  return select(x > T(0), x, exp_decay(abs(x)) - T(1));
}

GENPIPE_FN void uniform_of(PhiloxKey key, uint64_t block, int64_t word, float* u) {
  *u = uniform_float(philox_block(key, block).w[word]);
}
GENPIPE_FN void uniform_of(PhiloxKey key, uint64_t block, int64_t word, double* u) {
  *u = uniform_double(join_words(philox_block(key, block).w[word], philox_block(key, block | kSecondPlane).w[word]));
}

// The uniforms of an image: ops.uniform's for a shape (num, height, width, draws).
GENPIPE_FN int64_t draws_per_pixel(const PixelcnnSampleArgs& a) {
  return a.num_mixtures == 0 ? a.channels : a.channels + 1;
}

template <class T>
GENPIPE_FN T pixel_uniform(const PixelcnnSampleArgs& a, PhiloxKey key, int64_t image, int64_t i, int64_t j,
                           int64_t draw) {
  int64_t draws = draws_per_pixel(a), element = (i * a.width + j) * draws + draw;
  uint64_t block = uint64_t(a.first_index + image) * uint64_t(blocks_per_row(a.height * a.width * draws));
  T u;
  uniform_of(key, block + uint64_t(element / 4), element % 4, &u);
  return u;
}

// What stands for a uniform of 0, half a step: no draw falls on what has no probability.
GENPIPE_FN float smallest_uniform(float) { return 0x1p-25f; }
GENPIPE_FN double smallest_uniform(double) { return 0x1p-54; }

// A categorical draw from weights (exponentials of logits): the first whose share, added up in order, exceeds u. Blocks
// of kDrawBlock are summed apart, so that many threads can; sums(b) gives the sum of block b.
constexpr int64_t kDrawBlock = 16;

template <class T>
GENPIPE_FN double sum_draw_block(const T* weights, int64_t count, int64_t block) {
  double sum = 0;
  for (int64_t k = block * kDrawBlock; k < min(count, (block + 1) * kDrawBlock); ++k) sum += double(weights[k]);
  return sum;
}

template <class T, class Sums>
GENPIPE_FN int64_t find_category(const T* weights, int64_t count, T u, Sums sums) {
  int64_t blocks = (count + kDrawBlock - 1) / kDrawBlock, block = 0;
  double total = 0;
  for (int64_t b = 0; b < blocks; ++b) total += sums(b);
  double threshold = double(larger(u, smallest_uniform(u))) * total, sum = 0;
  for (; block < blocks - 1; ++block) {
    double next = sum + sums(block);
    if (next > threshold) break;
    sum = next;
  }
  int64_t last = min(count, (block + 1) * kDrawBlock) - 1, k = block * kDrawBlock;
  for (; k < last; ++k) {
    sum += double(weights[k]);
    if (sum > threshold) break;
  }
  return k;
}

// The same from logits, which it overwrites with the weights.
template <class T>
GENPIPE_FN int64_t draw_categorical(T* logits, int64_t count, T u) {
  T most = logits[0];
  for (int64_t k = 1; k < count; ++k) most = larger(logits[k], most);
  for (int64_t k = 0; k < count; ++k) logits[k] = exp_decay(most - logits[k]);
  return find_category(logits, count, u, [&](int64_t block) { return sum_draw_block(logits, count, block); });
}

// The value of a level that the network sees, in [-1, 1].
template <class T>
GENPIPE_FN T level_value(int64_t level, int64_t levels) {
  return fma(T(level), T(2) / T(levels - 1), T(-1));
}

GENPIPE_FN float rounded(float x) { return __builtin_rintf(x); }
GENPIPE_FN double rounded(double x) { return __builtin_rint(x); }

// The nearest level to a logistic variate of this mean and log-scale (Salimans et al., 2017, eq. 1-2).
template <class T>
GENPIPE_FN int64_t draw_logistic(T mean, T log_scale, T u, int64_t levels) {
  u = larger(u, smallest_uniform(u));
  T scale = exp(larger(log_scale, T(-7)));
  T x = fma(scale, log_positive(u) - log_positive(T(1) - u), mean);
  T level = rounded(fma(x, T(0.5), T(0.5)) * T(levels - 1));
  return int64_t(smaller(level > T(0) ? level : T(0), T(levels - 1)));  // 0 for NaN
}

// One channel's level: parameters (K), then means and log-scales (channels, K) each, then the coefficients of earlier
// channels (channels (channels - 1) / 2, K), through a tanh: those of channel c begin at c (c - 1) / 2.
template <class T>
GENPIPE_FN int64_t draw_mixture_channel(const T* parameters, int64_t component, int64_t channel, int64_t channels,
                                        int64_t num_mixtures, const T* earlier, T u, int64_t levels) {
  const T* means = parameters + num_mixtures + component;
  const T* log_scales = means + channels * num_mixtures;
  const T* coefficients = log_scales + channels * num_mixtures + channel * (channel - 1) / 2 * num_mixtures;
  T mean = means[channel * num_mixtures];
  for (int64_t k = 0; k < channel; ++k) {
    T c = coefficients[k * num_mixtures], p = exp_decay(abs(c) + abs(c));
    T tanh = (T(1) - p) / (T(1) + p);
    mean = fma(select(c < T(0), -tanh, tanh), earlier[k], mean);
  }
  return draw_logistic(mean, log_scales[channel * num_mixtures], u, levels);
}

// Runs the program in its order. engine.run(step, i, first, last, stride): the columns of row i of the step's
// destination; engine.draw(group, i, j): that group of channels of pixel (i, j).
#if defined(__CUDACC__)
#pragma nv_exec_check_disable
#endif
template <class Engine>
GENPIPE_FN void run_program(const PixelcnnSampleArgs& a, Engine& engine) {
  for (int64_t i = 0; i < a.height; ++i) {
    int64_t first = 0;
    for (; first < a.num_steps && a.steps[first].group < 0; ++first) {
      const PixelStep& step = a.steps[first];
      int64_t level = a.maps[step.dst].level, row = i >> level, of_all = step.parity < 0;
      if ((row << level) != i || (!of_all && row % 2 != step.parity / 2)) continue;
      engine.run(step, row, of_all ? 0 : step.parity % 2, extent(a.width, level), of_all ? 1 : 2);
    }
    for (int64_t j = 0; j < a.width; ++j) {
      int64_t s = first;
      for (int64_t group = 0; group < a.num_groups; ++group) {
        for (; s < a.num_steps && a.steps[s].group == group; ++s) {
          const PixelStep& step = a.steps[s];
          int64_t level = a.maps[step.dst].level, row = i >> level, column = j >> level;
          if ((row << level) != i || (column << level) != j) continue;
          if (step.parity >= 0 && row % 2 * 2 + column % 2 != step.parity) continue;
          engine.run(step, row, column, column + 1, 1);
        }
        engine.draw(group, i, j);
      }
    }
  }
}

}  // namespace genpipe
