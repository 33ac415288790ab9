// The work unit is a row, whose x_0 is made again in each pass: one pass for each 11 bits of the number, and one more.
#include "genpipe/dynamic_threshold.h"

namespace genpipe {
namespace {

constexpr int kDigitBits = 11, kBins = 1 << kDigitBits, kPart = 1024;

// Calls part(bits, count) with |x_0| of the row, as ordered bits.
template <class T, class Part>
GENPIPE_FN void for_each_bits(const DenoisingArgs& d, int64_t row, Part part) {
  typedef compute_t<T> C;
  bits_t<C> bits[kPart];
  Denoiser<C> denoiser = denoiser_of<C>(d.coefficients);
  C guidance = C(d.coefficients.guidance);
  for (int64_t column = 0; column < d.columns; column += kPart) {
    int64_t at = row * d.columns + column, count = min(kPart, d.columns - column);
    const T* x = static_cast<const T*>(d.x) + at;
    const T* prediction = static_cast<const T*>(d.prediction) + at;
    if (d.unconditional != nullptr) {
      const T* unconditional = static_cast<const T*>(d.unconditional) + at;
      for (int64_t j = 0; j < count; ++j) {
        C seen = guided(guidance, C(load(prediction + j)), C(load(unconditional + j)));
        bits[j] = ordered_bits(denoised(denoiser, C(load(x + j)), seen));
      }
    } else {
      for (int64_t j = 0; j < count; ++j) {
        bits[j] = ordered_bits(denoised(denoiser, C(load(x + j)), C(load(prediction + j))));
      }
    }
    part(bits, count);
  }
}

template <class T>
GENPIPE_FN void run(const DynamicThresholdArgs& a, int64_t begin, int64_t end) {
  typedef compute_t<T> C;
  typedef bits_t<C> B;
  constexpr int kAllBits = 8 * sizeof(B);
  const DenoisingArgs& d = a.denoising;
  QuantilePlace place = quantile_place(a.ratio, d.columns);
  for (int64_t row = begin; row < end; ++row) {
    int64_t rank = place.rank, equal = 0;
    B low = 0;
    for (int left = kAllBits; left > 0;) {  // so many bits of low are not known yet
      int width = int(min(left, kDigitBits)), shift = left - width;
      int64_t counts[kBins] = {};
      for_each_bits<T>(d, row, [&](const B* bits, int64_t count) {
        for (int64_t j = 0; j < count; ++j) {
          if (left == kAllBits || (bits[j] ^ low) >> left == 0) ++counts[(bits[j] >> shift) & B((1 << width) - 1)];
        }
      });
      int bin = 0;
      for (; rank >= counts[bin]; ++bin) rank -= counts[bin];
      low |= B(bin) << shift;
      equal = counts[bin];
      left = shift;
    }
    B high = low;
    if (place.rest > 0.0 && rank + 1 >= equal) {  // the next in order is another value
      high = ~B(0);
      for_each_bits<T>(d, row, [&](const B* bits, int64_t count) {
        for (int64_t j = 0; j < count; ++j) high = bits[j] > low && bits[j] < high ? bits[j] : high;
      });
    }
    static_cast<C*>(a.out)[row] = threshold_between<C>(low, high, place.rest, a, d.coefficients.clip);
  }
}

}  // namespace

namespace GENPIPE_VARIANT {

void dynamic_threshold(const DynamicThresholdArgs& a, int64_t begin, int64_t end) {
  dispatch_dtype(a.denoising.dtype, [&](auto t) { run<decltype(t)>(a, begin, end); });
}

}  // namespace GENPIPE_VARIANT
}  // namespace genpipe
