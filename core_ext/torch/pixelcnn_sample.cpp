#include "genpipe/pixelcnn_sample.h"

#include "glue.h"

GENPIPE_DECLARE_KERNEL(pixelcnn_sample, PixelcnnSampleArgs)

namespace genpipe {
namespace {

constexpr const char* kOp = "pixelcnn_sample";
constexpr int64_t kMaxTile = 32;          // images that share a pass over the weights on the CPU
constexpr int64_t kMaxLevels = 1 << 16;
constexpr int64_t kMaxSide = 1 << 20;     // keeps every product of sizes below far from 2^63
constexpr int64_t kMaxRow = 1 << 28;      // numbers that a step writes in a row: the kernels count them in 32 bits

// A table of int64 rows on the CPU; it is read here, and copied to where the op runs.
Tensor check_table(const char* name, const Tensor& table, int64_t columns) {
  check(table.is_cpu(), kOp, name, " must be on cpu, got ", device_text(table));
  check_dtype(kOp, name, table, ScalarType::Long);
  check(table.dim() == 2 && table.size(1) == columns, kOp, name, " must have shape (N, ", columns, "), got ",
        shape_text(table));
  return dense(table);
}

template <class Row>
const Row* rows_in(const Tensor& table) {
  return static_cast<const Row*>(table.const_data_ptr());
}

// Whatever could lead outside of the weights or of an image's activations is refused: the kernels trust the program.
struct Checker {
  const PixelcnnSampleArgs& a;
  int64_t num_taps, num_weights;

  template <class... Parts>
  void expect(bool held, const char* table, int64_t row, const Parts&... parts) const {
    check(held, kOp, table, "[", row, "] ", parts...);
  }

  void maps(int64_t* activations) const {
    check(a.num_maps >= 2, kOp, "maps must hold the image and what is drawn from, got ", a.num_maps, " of them");
    *activations = 0;
    for (int64_t m = 0; m < a.num_maps; ++m) {
      const PixelMap& map = a.maps[m];
      expect(map.channels >= 1 && map.channels <= kMaxSide, "maps", m, "has ", map.channels, " channels");
      expect(map.level >= 0 && map.level <= 20, "maps", m, "has level ", map.level);
      expect(map.depth >= 1 && map.depth <= kMaxSide, "maps", m, "has depth ", map.depth);
      expect(map.offset == *activations, "maps", m, "begins at ", map.offset, ", expected ", *activations);
      *activations += (map.depth * extent(a.width, map.level) * map.channels + 3) / 4 * 4;
      check(*activations <= int64_t(1) << 40, kOp, "maps hold more than 2^40 numbers of an image");
    }
    int64_t wanted = a.num_mixtures == 0 ? a.channels * a.levels
                                         : a.num_mixtures * (1 + 2 * a.channels + a.channels * (a.channels - 1) / 2);
    const PixelMap &image = a.maps[0], &head = a.maps[a.num_maps - 1];
    expect(image.level == 0 && (image.channels == a.channels || image.channels == a.channels + 1), "maps", 0,
           "must be the image: level 0 and ", a.channels, " channels, or one more for ones");
    expect(head.level == 0 && head.channels == wanted, "maps", a.num_maps - 1,
           "must be what is drawn from: level 0 and ", wanted, " channels, got level ", head.level, " and ",
           head.channels);
  }

  void channels(int64_t s, const char* name, int64_t map, int64_t first, int64_t count) const {
    expect(map >= 0 && map < a.num_maps, "steps", s, name, " is no map: ", map);
    expect(first >= 0 && count >= 0 && first <= a.maps[map].channels && count <= a.maps[map].channels - first, "steps",
           s, name, " has channels ", first, " to ", first, " + ", count, ", beyond the ", a.maps[map].channels,
           " of map ", map);
  }

  void same_level(int64_t s, const char* name, int64_t map, int64_t other) const {
    expect(a.maps[map].level == a.maps[other].level, "steps", s, name, " has another level than dst");
  }

  void steps() const {
    for (int64_t s = 0; s < a.num_steps; ++s) {
      const PixelStep& step = a.steps[s];
      expect(step.op >= 0 && step.op < kNumPixelOps, "steps", s, "has no such op: ", step.op);
      expect(step.group >= -1 && step.group < a.num_groups, "steps", s, "has group ", step.group, " of ",
             a.num_groups);
      expect(s == 0 || a.steps[s - 1].group <= step.group, "steps", s, "comes after steps of a later group");
      expect(step.count >= 1 && step.count <= kMaxSide, "steps", s, "has count ", step.count);
      expect(step.count <= kMaxRow / a.width, "steps", s, "writes more than 2^28 numbers in a row");
      channels(s, "dst", step.dst, step.dst_channel, step.op == kConcatElu ? 2 * step.count : step.count);
      expect(step.parity >= -1 && step.parity < 4, "steps", s, "has parity ", step.parity);
      expect(step.dst != 0, "steps", s, "writes into the image");
      if (step.addend >= 0 || step.op == kGatedResidual) {
        channels(s, "addend", step.addend, step.addend_channel, step.count);
        same_level(s, "addend", step.addend, step.dst);
      }
      if (step.op == kConv) {
        conv(s, step);
        continue;
      }
      bool halves = step.op == kGate || step.op == kGatedResidual;
      channels(s, "src", step.src, step.src_channel, halves ? 2 * step.count : step.count);
      same_level(s, "src", step.src, step.dst);
    }
  }

  void conv(int64_t s, const PixelStep& step) const {
    expect(step.scale >= -1 && step.scale <= 1, "steps", s, "has scale ", step.scale);
    expect(step.num_taps >= 1 && step.num_taps <= kMaxTaps, "steps", s, "has ", step.num_taps, " taps, expected 1 to ",
           kMaxTaps);
    expect(step.first_tap >= 0 && step.first_tap <= num_taps - step.num_taps, "steps", s, "reads taps beyond the ",
           num_taps, " that there are");
    channels(s, "src", step.src, step.src_channel, 0);
    expect(a.maps[step.src].level == a.maps[step.dst].level - step.scale, "steps", s,
           "src has a level that scale does not lead to");
    int64_t panels = (step.count + kPanel - 1) / kPanel;
    expect(step.rows >= 1 && step.rows <= num_weights && step.weights >= 0 && step.weights <= num_weights &&
               panels * kPanel <= (num_weights - step.weights) / step.rows,
           "steps", s, "has weights beyond the ", num_weights, " that there are");
    expect(step.bias >= -1 && (step.bias < 0 || step.bias <= num_weights - step.count), "steps", s,
           "has a bias beyond the ", num_weights, " weights");
    for (int64_t t = step.first_tap; t < step.first_tap + step.num_taps; ++t) {
      const PixelTap& tap = a.taps[t];
      expect(tap.dy <= 0 && -tap.dy < a.maps[step.src].depth, "taps", t, "reads row ", tap.dy, " of map ", step.src,
             ", which keeps ", a.maps[step.src].depth);
      expect(tap.dx >= -kMaxSide && tap.dx <= kMaxSide, "taps", t, "reads column ", tap.dx);
      expect(tap.channels >= 1 && tap.channels <= a.maps[step.src].channels - step.src_channel, "taps", t, "reads ",
             tap.channels, " channels of map ", step.src);
      expect(tap.row >= 0 && tap.row <= step.rows - tap.channels, "taps", t, "has weights beyond its step's");
    }
  }
};

// CPU: a worker per thread, with tiles of equal size. CUDA: a block per worker, with more images each where there are
// more than blocks run at once, and at most so many blocks that their activations stay small.
void share_out(PixelcnnSampleArgs& a, bool on_cuda) {
  if (on_cuda) {
    a.tile = min(4, (a.num + 263) / 264);
    a.workers = min(1056, (a.num + a.tile - 1) / a.tile);
    return;
  }
  a.workers = min(torch::stable::get_num_threads(), a.num);
  int64_t share = (a.num + a.workers - 1) / a.workers, tiles = (share + kMaxTile - 1) / kMaxTile;
  a.tile = (share + tiles - 1) / tiles;
}

Tensor pixelcnn_sample(const Tensor& weights, const Tensor& maps, const Tensor& steps, const Tensor& taps,
                       std::vector<int64_t> image, int64_t levels, int64_t num_mixtures, const Tensor& key,
                       int64_t num, int64_t first_index) {
  check_device(kOp, "weights", weights.device());
  PixelcnnSampleArgs a{};
  a.dtype = check_floating(kOp, "weights", weights);
  check(a.dtype != DType::bf16, kOp, "weights must be float32 or float64, got bfloat16");
  check(weights.dim() == 1, kOp, "weights must have one dimension, got shape ", shape_text(weights));
  check(image.size() == 3, kOp, "image must be (channels, height, width), got ", image.size(), " numbers");
  for (int64_t size : image) {
    check(size >= 1 && size <= kMaxSide, kOp, "image has the size ", size, ", expected 1 to ", kMaxSide);
  }
  check(levels >= 2 && levels <= kMaxLevels, kOp, "levels must be 2 to ", kMaxLevels, ", got ", levels);
  check(num_mixtures >= 0 && num_mixtures <= kMaxSide, kOp, "num_mixtures must not be negative, got ", num_mixtures);
  check(num >= 0, kOp, "num must not be negative, got ", num);

  Tensor weights_c = dense(weights), maps_c = check_table("maps", maps, sizeof(PixelMap) / 8);
  Tensor steps_c = check_table("steps", steps, sizeof(PixelStep) / 8);
  Tensor taps_c = check_table("taps", taps, sizeof(PixelTap) / 8);
  a.maps = rows_in<PixelMap>(maps_c);
  a.steps = rows_in<PixelStep>(steps_c);
  a.taps = rows_in<PixelTap>(taps_c);
  a.num_maps = maps_c.size(0);
  a.num_steps = steps_c.size(0);
  a.channels = image[0];
  a.height = image[1];
  a.width = image[2];
  a.levels = levels;
  a.num_mixtures = num_mixtures;
  a.num_groups = num_mixtures == 0 ? a.channels : 1;
  Checker checker{a, taps_c.size(0), weights_c.numel()};
  checker.maps(&a.activations);
  checker.steps();
  check_counter(kOp, first_index, num, a.height * a.width * draws_per_pixel(a));

  bool on_cuda = weights.is_cuda();
  KeyArgument checked = check_key(kOp, key, on_cuda, weights.get_device_index());
  a.key = checked.value;
  a.device_key = checked.device;
  Tensor out = torch::stable::empty({num, a.channels, a.height, a.width}, ScalarType::Long, std::nullopt,
                                    weights.device());
  if (num == 0) return out;
  a.num = num;
  a.first_index = first_index;
  share_out(a, runs_on_cuda(weights));
  Tensor scratch = torch::stable::empty({a.workers, a.tile, a.activations}, weights.scalar_type(), std::nullopt,
                                        weights.device());
  if (on_cuda) {
    maps_c = torch::stable::to(maps_c, weights.device());
    steps_c = torch::stable::to(steps_c, weights.device());
    taps_c = torch::stable::to(taps_c, weights.device());
    a.maps = rows_in<PixelMap>(maps_c);
    a.steps = rows_in<PixelStep>(steps_c);
    a.taps = rows_in<PixelTap>(taps_c);
  }
  a.weights = weights_c.const_data_ptr();
  a.out = static_cast<int64_t*>(out.mutable_data_ptr());
  a.scratch = scratch.mutable_data_ptr();
  GENPIPE_LAUNCH(pixelcnn_sample, a, on_cuda, weights.get_device_index(), a.workers, 1);
  return out;
}

}  // namespace
}  // namespace genpipe

STABLE_TORCH_LIBRARY_FRAGMENT(genpipe, m) {
  m.def(
      "pixelcnn_sample(Tensor weights, Tensor maps, Tensor steps, Tensor taps, SymInt[] image, SymInt levels, "
      "SymInt num_mixtures, Tensor key, SymInt num, SymInt first_index) -> Tensor");
}

GENPIPE_REGISTER(m) { m.impl("pixelcnn_sample", TORCH_BOX(&genpipe::pixelcnn_sample)); }
