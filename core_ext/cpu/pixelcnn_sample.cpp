// The work unit is a worker: it samples its share of the images, `tile` of them together, without waiting for others.
#include "genpipe/pixelcnn_sample.h"

#include "panel_product.h"

namespace genpipe {
namespace {

constexpr int64_t kMaxTile = 32;
constexpr int kVectors = 3;  // of accumulators for each row of a product; the registers hold no more

template <class T>
struct Sampler {
  static constexpr int kVectorsPerPanel = kPanel / Vector<T>::kWidth;
  // Panels that are multiplied together: AVX-512 holds three of floats; narrower vectors make a panel of several.
  static constexpr int kPanels = kVectorsPerPanel >= kVectors ? 1 : kVectors / kVectorsPerPanel;

  const PixelcnnSampleArgs& a;
  T* activations;         // map by map: (depth, width, images, channels)
  int64_t images, first;  // of this tile

  // Channels of the tile's first image at a place of a map; the next image's lie `channels` further.
  GENPIPE_FN T* at(const Sampler& self, int64_t map, int64_t i, int64_t j) {
    const PixelMap& m = self.a.maps[map];
    int64_t slot = i % m.depth * extent(self.a.width, m.level) + j;
    return self.activations + self.images * (m.offset + slot * m.channels);
  }

  inline __attribute__((always_inline)) void run(const PixelStep& step, int64_t i, int64_t first_column,
                                                 int64_t last_column, int64_t stride) {
    for (int64_t j = first_column; j < last_column; j += stride) {
      switch (step.op) {
        case kConv: conv(*this, step, i, j); break;
        case kGate: each(*this, step, i, j, [](const T* x, const T*, T* y, int64_t count) {
          for (int64_t c = 0; c < count; ++c) y[c] = gate_unit(x[c], x[count + c]);
        }); break;
        case kGatedResidual: each(*this, step, i, j, [](const T* x, const T* addend, T* y, int64_t count) {
          for (int64_t c = 0; c < count; ++c) y[c] = gated_residual_unit(addend[c], x[c], x[count + c]);
        }); break;
        case kConcatElu: each(*this, step, i, j, [](const T* x, const T*, T* y, int64_t count) {
          for (int64_t c = 0; c < count; ++c) y[c] = elu(x[c]);
          for (int64_t c = 0; c < count; ++c) y[count + c] = elu(-x[c]);
        }); break;
        case kRelu: each(*this, step, i, j, [](const T* x, const T*, T* y, int64_t count) {
          for (int64_t c = 0; c < count; ++c) y[c] = larger(x[c], T(0));
        }); break;
      }
    }
  }

  // Noinline: each loop is compiled once, not for every place that it is called from.
  template <class Unit>
  static __attribute__((noinline)) void each(const Sampler& self, const PixelStep& step, int64_t i, int64_t j,
                                             Unit unit) {
    const PixelMap *maps = self.a.maps, &from = maps[step.src], &to = maps[step.dst];
    const T* x = at(self, step.src, i, j) + step.src_channel;
    const T* addend = step.addend < 0 ? nullptr : at(self, step.addend, i, j) + step.addend_channel;
    T* y = at(self, step.dst, i, j) + step.dst_channel;
    for (int64_t b = 0; b < self.images; ++b) {
      unit(x + b * from.channels, addend == nullptr ? nullptr : addend + b * maps[step.addend].channels,
           y + b * to.channels, step.count);
    }
  }

  struct Source {
    const T* x;
    int64_t channels, row;
  };

  // The taps that lie in the image; the others would multiply zeros.
  GENPIPE_FN int64_t find_sources(const Sampler& self, const PixelStep& step, int64_t i, int64_t j, Source* sources) {
    int64_t width = extent(self.a.width, self.a.maps[step.src].level);
    if (step.scale > 0) i *= 2, j *= 2;
    if (step.scale < 0) i /= 2, j /= 2;
    int64_t num = 0;
    for (int64_t t = step.first_tap; t < step.first_tap + step.num_taps; ++t) {
      const PixelTap& tap = self.a.taps[t];
      int64_t y = i + tap.dy, x = j + tap.dx;
      if (y < 0 || x < 0 || x >= width) continue;
      sources[num++] = {at(self, step.src, y, x) + step.src_channel, tap.channels, tap.row};
    }
    return num;
  }

  template <int panels>
  static __attribute__((noinline)) void conv_panels(const Sampler& self, const PixelStep& step, const Source* sources,
                                                    int64_t num_sources, int64_t panel, const T* addend, T* y) {
    constexpr int64_t outputs = panels * kPanel;
    const PixelMap* maps = self.a.maps;
    int64_t lda = maps[step.src].channels, ldw = step.rows * kPanel, images = self.images;
    int64_t first = panel * kPanel, count = min(step.count - first, outputs);
    const T* weights = static_cast<const T*>(self.a.weights) + step.weights + panel * ldw;
    const T* bias = static_cast<const T*>(self.a.weights) + step.bias + first;
    T sums[kMaxTile * outputs];
    for (int64_t b = 0; b < images; ++b) {
      for (int64_t n = 0; n < outputs; ++n) sums[b * outputs + n] = step.bias >= 0 && n < count ? bias[n] : T(0);
    }
    for (int64_t s = 0; s < num_sources; ++s) {
      for (int64_t k = 0; k < sources[s].channels; k += kDotChunk) {
        add_products_of<T, panels * kVectorsPerPanel, int(kPanel)>(
            images, sources[s].x + k, lda, weights + (sources[s].row + k) * kPanel, ldw,
            min(sources[s].channels - k, kDotChunk), sums, outputs);
      }
    }
    for (int64_t b = 0; b < images; ++b) {
      T* to = y + b * maps[step.dst].channels + first;
      const T* sum = sums + b * outputs;
      if (addend == nullptr) {
        for (int64_t n = 0; n < count; ++n) to[n] = sum[n];
      } else {
        const T* more = addend + b * maps[step.addend].channels + first;
        for (int64_t n = 0; n < count; ++n) to[n] = sum[n] + more[n];
      }
    }
  }

  static __attribute__((noinline)) void conv(const Sampler& self, const PixelStep& step, int64_t i, int64_t j) {
    Source sources[kMaxTaps];
    int64_t num_sources = find_sources(self, step, i, j, sources);
    const T* addend = step.addend < 0 ? nullptr : at(self, step.addend, i, j) + step.addend_channel;
    T* y = at(self, step.dst, i, j) + step.dst_channel;
    int64_t num_panels = (step.count + kPanel - 1) / kPanel, panel = 0;
    for (; panel + kPanels <= num_panels; panel += kPanels) {
      conv_panels<kPanels>(self, step, sources, num_sources, panel, addend, y);
    }
    if (kPanels > 2 && panel + 2 <= num_panels) {
      conv_panels<kPanels < 2 ? 1 : 2>(self, step, sources, num_sources, panel, addend, y);
      panel += 2;
    }
    for (; panel < num_panels; ++panel) conv_panels<1>(self, step, sources, num_sources, panel, addend, y);
  }

  inline __attribute__((always_inline)) void draw(int64_t group, int64_t i, int64_t j) { draw(*this, group, i, j); }

  static __attribute__((noinline)) void draw(const Sampler& self, int64_t group, int64_t i, int64_t j) {
    const PixelcnnSampleArgs& a = self.a;
    const PixelMap &head = a.maps[a.num_maps - 1], &image = a.maps[0];
    T *parameters = at(self, a.num_maps - 1, i, j), *values = at(self, 0, i, j);
    for (int64_t b = 0; b < self.images; ++b, parameters += head.channels, values += image.channels) {
      int64_t index = self.first + b;
      int64_t* out = a.out + (index * a.channels * a.height + i) * a.width + j;
      if (a.num_mixtures == 0) {
        T u = pixel_uniform<T>(a, a.key, index, i, j, group);
        int64_t level = draw_categorical(parameters + group * a.levels, a.levels, u);
        values[group] = level_value<T>(level, a.levels);
        out[group * a.height * a.width] = level;
        continue;
      }
      T u = pixel_uniform<T>(a, a.key, index, i, j, 0);
      int64_t component = draw_categorical(parameters, a.num_mixtures, u);
      for (int64_t c = 0; c < a.channels; ++c) {
        u = pixel_uniform<T>(a, a.key, index, i, j, 1 + c);
        int64_t level = draw_mixture_channel(parameters, component, c, a.channels, a.num_mixtures, values, u, a.levels);
        values[c] = level_value<T>(level, a.levels);
        out[c * a.height * a.width] = level;
      }
    }
    for (int64_t b = 0, extra = a.channels; extra < image.channels && b < self.images; ++b) {
      at(self, 0, i, j)[b * image.channels + extra] = T(1);  // tells the image from what surrounds it
    }
  }
};

template <class T>
void sample(const PixelcnnSampleArgs& a, int64_t begin, int64_t end) {
  for (int64_t worker = begin; worker < end; ++worker) {
    int64_t last = a.num * (worker + 1) / a.workers;
    for (int64_t first = a.num * worker / a.workers; first < last; first += a.tile) {
      Sampler<T> sampler{a, static_cast<T*>(a.scratch) + worker * a.tile * a.activations, min(a.tile, last - first),
                         first};
      run_program(a, sampler);
    }
  }
}

}  // namespace

namespace GENPIPE_VARIANT {

void pixelcnn_sample(const PixelcnnSampleArgs& a, int64_t begin, int64_t end) {
  a.dtype == DType::f64 ? sample<double>(a, begin, end) : sample<float>(a, begin, end);
}

}  // namespace GENPIPE_VARIANT
}  // namespace genpipe
