// SPDX-License-Identifier: Apache-2.0
// The whole backend on a GPU: numbers beside the graph's reference, images, pinned inputs, and what it refuses.
#include "backend/cuda/device_tests/backend_fixture.h"
#include "backend/image_input.h"

#include <gmock/gmock.h>

#include <array>
#include <atomic>
#include <cstring>
#include <map>
#include <mutex>
#include <thread>
#include <utility>

namespace takt::cuda {
namespace {

using conformance::conv_net;
using conformance::make_request;
using conformance::noise_image;
using conformance::Request;
using conformance::run;
using conformance::TestModel;

using GpuBackend = GpuBackendTest;

constexpr double kRounding = 1e-4;  // of sums in FP32, as tuning lets it pass

std::vector<std::byte> bytes_of(const std::vector<float>& values) {
  const auto bytes = std::as_bytes(std::span(values));
  return {bytes.begin(), bytes.end()};
}

// Three requests of six rows, which the program of eight runs.
void expect_batch(Instance& instance, const TestModel& model, double tolerance) {
  const Signature signature{model.inputs, model.outputs, model.batch_max};
  std::deque<Request> batch;
  for (const std::int64_t rows : {3, 1, 2}) {
    batch.push_back(make_request(signature, batch.size() + 1, rows));
  }
  TAKT_ASSERT_OK(run(instance, batch).status);
  for (const Request& request : batch) {
    const auto expected = reference_of(model, request);
    TAKT_ASSERT_OK(expected);
    expect_outputs(request, *expected, tolerance);
  }
}

TEST_F(GpuBackend, TensorsGiveWhatTheGraphGives) {
  for (const TestModel& model : {conv_net(), conformance::distance(), conformance::integers()}) {
    SCOPED_TRACE(model.file);
    const auto instance = open(model, options_of(model));
    ASSERT_NE(instance, nullptr);
    expect_batch(*instance, model, kRounding);
  }
}

TEST_F(GpuBackend, BatchSizesThatAreGivenAreFilledUp) {
  const TestModel model = conv_net();
  LoadOptions options = options_of(model);
  options.parameters.emplace_back("cuda.batches", "8");
  const auto instance = open(model, options);
  ASSERT_NE(instance, nullptr);
  const Signature signature{model.inputs, model.outputs, model.batch_max};
  for (const std::int64_t rows :
       {8, 1, 5}) {  // rows of the batch before stay in the device's memory
    Request request = make_request(signature, static_cast<std::uint64_t>(rows), rows);
    TAKT_ASSERT_OK(run(*instance, request).status);
    const auto expected = reference_of(model, request);
    TAKT_ASSERT_OK(expected);
    expect_outputs(request, *expected, kRounding);
  }
}

TEST_F(GpuBackend, EachPrecisionIsAsExactAsItsNumbers) {
  // Of three convolutions one behind the other.
  const std::array<std::pair<const char*, double>, 4> tolerances{
      {{"fp32", kRounding}, {"tf32", 1e-2}, {"fp16", 1e-2}, {"bf16", 6e-2}}};
  for (const auto& [precision, tolerance] : tolerances) {
    SCOPED_TRACE(precision);
    LoadOptions options = options_of(conv_net());
    options.precision = precision;
    const auto instance = open(conv_net(), options);
    ASSERT_NE(instance, nullptr);
    expect_batch(*instance, conv_net(), tolerance);
  }
}

// What the CPU stages of a stack, normalised: the request with a finished tensor that means the same.
Request finished(const ImageStack& stack, const ImagePreprocess& preprocess,
                 const TestModel& model) {
  const ImageInput input = resolve_image_input(preprocess, model.inputs[0]).value();
  std::vector<std::uint8_t> staged(input.row_bytes);
  Resampler resampler;
  EXPECT_TRUE(stage_stack(stack, input, resampler, staged).has_value());
  const auto channels = static_cast<std::size_t>(input.staged.channels);
  const std::size_t pixels = staged.size() / channels;
  std::vector<float> values(staged.size());
  for (std::size_t c = 0; c < channels; ++c) {
    const float mean = preprocess.mean.empty() ? 0 : preprocess.mean[c];
    const float stddev = preprocess.stddev.empty() ? 1 : preprocess.stddev[c];
    for (std::size_t pixel = 0; pixel < pixels; ++pixel) {
      const std::size_t at = input.staged.channels_last ? pixel * channels + c : c * pixels + pixel;
      values[c * pixels + pixel] =
          (static_cast<float>(staged[at]) * preprocess.scale - mean) / stddev;
    }
  }
  Request request;
  request.memory.push_back(bytes_of(values));
  Shape shape = model.inputs[0].shape;
  shape.insert(shape.begin(), 1);
  request.inputs.emplace_back(TensorView{DataType::fp32, shape, request.memory.back()});
  return request;
}

struct ImageModel {
  TestModel model;
  ImagePreprocess preprocess;
  std::size_t images = 1;  // of a stack
};

ImageModel two_gray(Fit fit = Fit::letterbox) {
  ImageModel images{conv_net(), {}, 2};
  images.preprocess.fit = fit;
  images.model.plans = {{"image", images.preprocess}};
  return images;
}

ImageModel rgb() {
  ImageModel images{conv_net(), {}, 1};
  images.model.file = "conv_net_color";
  images.model.inputs[0].shape[0] = 3;
  images.preprocess.color = PixelFormat::rgb8;
  images.preprocess.mean = {0.485F, 0.456F, 0.406F};
  images.preprocess.stddev = {0.229F, 0.224F, 0.225F};
  images.model.plans = {{"image", images.preprocess}};
  return images;
}

Request image_request(const ImageModel& images, std::uint64_t seed, int width, int height,
                      Region region = {}) {
  Request request;
  ImageStack stack;
  for (std::size_t i = 0; i < images.images; ++i) {
    request.images.push_back(noise_image(width, height, images.preprocess.color, seed * 10 + i));
    stack.images.push_back(request.images.back().view());
  }
  stack.region = region;
  request.inputs.emplace_back(std::move(stack));
  conformance::add_outputs(request, {images.model.inputs, images.model.outputs, 8});
  return request;
}

// Of several sizes and regions, fewer than any program's rows but one.
std::deque<Request> image_batch(const ImageModel& images) {
  std::deque<Request> batch;
  batch.push_back(image_request(images, 1, 16, 16));
  batch.push_back(image_request(images, 2, 61, 37));
  batch.push_back(image_request(images, 3, 200, 120, {30.5F, -4, 90, 60}));
  return batch;
}

TEST_F(GpuBackend, ImagesGiveWhatTheStagedAndNormalisedOnesGive) {
  for (const ImageModel& images : {two_gray(), two_gray(Fit::stretch), rgb()}) {
    SCOPED_TRACE(images.model.file);
    const auto instance = open(images.model, options_of(images.model));
    ASSERT_NE(instance, nullptr);
    std::deque<Request> batch = image_batch(images);
    TAKT_ASSERT_OK(run(*instance, batch).status);
    for (const Request& request : batch) {
      const auto& stack = std::get<ImageStack>(request.inputs[0]);
      const auto expected =
          reference_of(images.model, finished(stack, images.preprocess, images.model));
      TAKT_ASSERT_OK(expected);
      expect_outputs(request, *expected, kRounding);
    }
  }
}

TEST_F(GpuBackend, ImagesInSixteenBitsAreCloseToThoseInThirtyTwo) {
  const ImageModel images = rgb();
  LoadOptions options = options_of(images.model);
  options.precision = "fp16";
  const auto instance = open(images.model, options);
  ASSERT_NE(instance, nullptr);
  std::deque<Request> batch = image_batch(images);
  TAKT_ASSERT_OK(run(*instance, batch).status);
  for (const Request& request : batch) {
    const auto& stack = std::get<ImageStack>(request.inputs[0]);
    const auto expected =
        reference_of(images.model, finished(stack, images.preprocess, images.model));
    TAKT_ASSERT_OK(expected);
    expect_outputs(request, *expected, 1e-2);
  }
}

// Lets everything through and counts.
class Counting final : public AllocationGate {
 public:
  bool admit(std::string_view what, std::size_t) noexcept override {
    const std::scoped_lock guard(lock_);
    ++counts_[std::string(what)];
    return true;
  }
  [[nodiscard]] int count(const std::string& what) {
    const std::scoped_lock guard(lock_);
    return counts_[what];
  }

 private:
  std::mutex lock_;
  std::map<std::string, int> counts_;  // guarded by lock_
};

class GpuBackendPinned : public GpuBackendTest {
 protected:
  void SetUp() override {
    GpuBackendTest::SetUp();
    if (IsSkipped() || HasFatalFailure()) return;
    Result<std::unique_ptr<Backend>> counted = make_gpu_backend(&gate_);
    TAKT_ASSERT_OK(counted);
    backend_ = *std::move(counted);
  }
  [[nodiscard]] LoadOptions pinned_options(const ImageModel& images) const {
    LoadOptions options = options_of(images.model);
    options.input_memory = {mapping_.bytes()};
    return options;
  }
  // Moves the request's images into the mapping.
  void pin(Request& request, std::size_t& offset) const {
    for (ImageView& view : std::get<ImageStack>(request.inputs[0]).images) {
      for (const Image& image : request.images) {
        if (image.pixels.data() != view.pixels) continue;
        view = mapping_.put(image, offset);
        break;
      }
      offset += view.byte_size() + 3;  // at odd addresses too
    }
  }
  void expect_the_same(Instance& instance, const std::deque<Request>& expected,
                       const ImageModel& images) const {
    std::deque<Request> batch = image_batch(images);
    std::size_t offset = 1;
    for (Request& request : batch) pin(request, offset);
    TAKT_ASSERT_OK(run(instance, batch).status);
    for (std::size_t i = 0; i < batch.size(); ++i) {
      EXPECT_EQ(batch[i].floats(0), expected[i].floats(0));
      EXPECT_EQ(batch[i].floats(1), expected[i].floats(1));
    }
  }

  Counting gate_;
  Mapping mapping_{std::size_t{1} << 20};
};

TEST_F(GpuBackendPinned, ImagesInPinnedMemoryGiveTheSameAsOthers) {
  for (const ImageModel& images : {two_gray(), rgb()}) {
    SCOPED_TRACE(images.model.file);
    const auto instance = open(images.model, pinned_options(images));
    ASSERT_NE(instance, nullptr);
    std::deque<Request> outside = image_batch(images);
    TAKT_ASSERT_OK(run(*instance, outside).status);
    expect_the_same(*instance, outside, images);
  }
}

TEST_F(GpuBackendPinned, AStackOfWhichOneImageIsPinnedGivesTheSame) {
  const ImageModel images = two_gray();
  const auto instance = open(images.model, pinned_options(images));
  ASSERT_NE(instance, nullptr);
  Request outside = image_request(images, 1, 61, 37);
  Request mixed = image_request(images, 1, 61, 37);
  std::get<ImageStack>(mixed.inputs[0]).images[1] = mapping_.put(mixed.images[1], 5);
  TAKT_ASSERT_OK(run(*instance, outside).status);
  TAKT_ASSERT_OK(run(*instance, mixed).status);
  EXPECT_EQ(mixed.floats(0), outside.floats(0));
}

TEST_F(GpuBackendPinned, AnImageThatReachesOutOfTheMappingIsCopied) {
  const ImageModel images = rgb();
  LoadOptions options = options_of(images.model);
  options.input_memory = {mapping_.bytes().first(1U << 16U)};
  const auto instance = open(images.model, options);
  ASSERT_NE(instance, nullptr);
  Request outside = image_request(images, 1, 61, 37);
  Request across = image_request(images, 1, 61, 37);
  std::get<ImageStack>(across.inputs[0]).images[0] =
      mapping_.put(across.images[0], (1U << 16U) - 1000);
  TAKT_ASSERT_OK(run(*instance, outside).status);
  TAKT_ASSERT_OK(run(*instance, across).status);
  EXPECT_EQ(across.floats(0), outside.floats(0));
}

TEST_F(GpuBackendPinned, TwoModelsShareAMappingThatIsPinnedOnce) {
  const ImageModel gray = two_gray();
  const ImageModel color = rgb();
  auto first = open(gray.model, pinned_options(gray));
  const auto second = open(color.model, pinned_options(color));
  ASSERT_NE(first, nullptr);
  ASSERT_NE(second, nullptr);
  EXPECT_EQ(gate_.count("host registration"), 1);
  std::deque<Request> outside = image_batch(color);
  TAKT_ASSERT_OK(run(*second, outside).status);
  first.reset();
  expect_the_same(*second, outside, color);
}

TEST_F(GpuBackendPinned, AMappingIsPinnedAgainAfterItsLastModel) {
  const ImageModel images = two_gray();
  for (int round = 1; round <= 2; ++round) {
    const auto instance = open(images.model, pinned_options(images));
    ASSERT_NE(instance, nullptr);
    EXPECT_EQ(gate_.count("host registration"), round);
  }
}

// An instance keeps what its model pinned; a model loaded then must not pin it a second time.
TEST_F(GpuBackendPinned, AnInstanceThatOutlivesItsModelDoesNotKeepOthersFromLoading) {
  const ImageModel images = two_gray();
  const auto left = open(images.model, pinned_options(images));  // its model is gone
  ASSERT_NE(left, nullptr);
  const auto right = open(images.model, pinned_options(images));
  ASSERT_NE(right, nullptr);
  EXPECT_EQ(gate_.count("host registration"), 1);
}

TEST_F(GpuBackendPinned, RunningABatchTakesNoMemoryOfTheDevice) {
  const ImageModel images = two_gray();
  const auto instance = open(images.model, pinned_options(images));
  ASSERT_NE(instance, nullptr);
  const int modules = gate_.count("module");
  const int device = gate_.count("device memory");
  const int pinned = gate_.count("pinned memory");
  std::deque<Request> batch = image_batch(images);
  TAKT_ASSERT_OK(run(*instance, batch).status);
  EXPECT_EQ(gate_.count("module"), modules);
  EXPECT_EQ(gate_.count("device memory"), device);
  EXPECT_EQ(gate_.count("pinned memory"), pinned);
}

class GpuBackendRefusals : public GpuBackendTest {
 protected:
  void expect_refused(const std::string& file, const LoadOptions& options, ErrorKind kind,
                      const std::vector<std::string>& texts) const {
    SCOPED_TRACE(file);
    expect_error(without_value(load(file, options)), kind, texts);
  }
};

TEST_F(GpuBackendRefusals, DevicesThatAreNotThere) {
  LoadOptions options = options_of(conv_net());
  for (const char* device : {"cpu", "cuda", "cuda:x", "cuda:-1"}) {
    options.device = device;
    expect_refused("conv_net", options, ErrorKind::unavailable, {"'cuda:0'", device});
  }
  options.device = "cuda:1000";
  expect_refused("conv_net", options, ErrorKind::unavailable, {"conv_net.onnx", "cuda:1000"});
}

TEST_F(GpuBackendRefusals, AnInstanceOnAnotherDevice) {
  const auto model = load("conv_net", options_of(conv_net()));
  TAKT_ASSERT_OK(model);
  expect_error(without_value((*model)->open_instance({"cuda:1", 0})), ErrorKind::unavailable,
               {"'cuda:0'", "'cuda:1'"});
}

TEST_F(GpuBackendRefusals, AnOperatorThatItLacksIsNamedWithItsNode) {
  LoadOptions options = options_of(conv_net());
  options.input_specs = {{"x", DataType::fp32, {4}}};
  options.output_specs = {{"out", DataType::fp32, {4}}};
  expect_refused("custom_operator", options, ErrorKind::invalid_input,
                 {"custom_operator.onnx", "attention_3", "FancyAttention"});
}

TEST_F(GpuBackendRefusals, ShapesThatDoNotFitNameTheNode) {
  LoadOptions options = options_of(conv_net());
  options.input_specs = {{"x", DataType::fp32, {4}}};
  options.output_specs = {{"out", DataType::fp32, {5}}};
  expect_refused("wrong_shapes", options, ErrorKind::invalid_input,
                 {"wrong_shapes.onnx", "head_matmul"});
}

TEST_F(GpuBackendRefusals, ABatchThatIsFixedInsideTheModel) {
  LoadOptions options = options_of(conv_net());
  options.input_specs.clear();
  options.output_specs.clear();
  options.batch_max = 4;
  expect_refused("hard_coded_batch", options, ErrorKind::invalid_input,
                 {"'x' stays [1,2,6]", "batch is 4", "max_batch_size"});
  options.input_specs = {{"x", DataType::fp32, {2, 6}}};
  expect_refused("hard_coded_batch", options, ErrorKind::invalid_input,
                 {"Reshape", "one of 4 doesn't", "max_batch_size"});
}

TEST_F(GpuBackendRefusals, FilesThatAreNoModel) {
  for (const char* file : {"garbage", "text", "truncated", "empty", "not_there"}) {
    expect_refused(file, options_of(conv_net()), ErrorKind::invalid_input,
                   {std::string(file) + ".onnx"});
  }
}

TEST_F(GpuBackendRefusals, ParametersThatItDoesNotKnow) {
  LoadOptions options = options_of(conv_net());
  options.parameters = {{"cuda.prescision", "fp16"}};
  expect_refused("conv_net", options, ErrorKind::invalid_input,
                 {"conv_net.onnx", "'cuda.prescision'", "did you mean 'cuda.precision'?"});
  options.parameters = {{"cuda.batches", "1,many"}};
  expect_refused("conv_net", options, ErrorKind::invalid_input, {"cuda.batches", "from 1 to"});
  options.parameters.clear();
  options.precision = "int8";
  expect_refused("conv_net", options, ErrorKind::invalid_input, {"precision", "'int8'", "fp16"});
}

TEST_F(GpuBackendRefusals, APlanForAnInputThatTheModelLacks) {
  LoadOptions options = options_of(conv_net());
  options.inputs = {{"imgae", ImagePreprocess{}}};
  expect_refused("conv_net", options, ErrorKind::invalid_input, {"no input 'imgae'", "'image'"});
}

TEST_F(GpuBackendRefusals, AnInputDeclaredWithAnotherType) {
  LoadOptions options = options_of(conv_net());
  options.input_specs[0].type = DataType::int64;
  expect_refused("conv_net", options, ErrorKind::invalid_input, {"input 'image'", "INT64", "FP32"});
}

TEST_F(GpuBackend, WithoutAPlanNothingIsTunedWhereThatIsForbidden) {
  LoadOptions options = options_of(conv_net());
  options.cache_dir = folder_;
  options.parameters.emplace_back("cuda.tune", "false");
  expect_error(without_value(load("conv_net", options)), ErrorKind::unavailable,
               {".taktplan", "takt compile"});
  options.cache_dir.clear();
  expect_error(without_value(load("conv_net", options)), ErrorKind::unavailable,
               {"no plan file", "takt compile"});
}

TEST_F(GpuBackend, ThePlanOfOneLoadServesTheNextOne) {
  const ImageModel images = rgb();
  LoadOptions options = options_of(images.model);
  options.cache_dir = folder_;
  std::deque<Request> tuned = image_batch(images);
  {
    const auto instance = open(images.model, options);
    ASSERT_NE(instance, nullptr);
    TAKT_ASSERT_OK(run(*instance, tuned).status);
  }
  options.parameters.emplace_back("cuda.tune", "false");
  const auto instance = open(images.model, options);
  ASSERT_NE(instance, nullptr);
  std::deque<Request> again = image_batch(images);
  TAKT_ASSERT_OK(run(*instance, again).status);
  for (std::size_t i = 0; i < again.size(); ++i) {
    EXPECT_EQ(again[i].floats(0), tuned[i].floats(0));
  }
}

TEST_F(GpuBackend, ManyInstancesInParallelGiveTheNumbersOfOne) {
  constexpr int kInstances = 6;
  const TestModel model = conv_net();
  const Signature signature{model.inputs, model.outputs, model.batch_max};
  LoadOptions options = options_of(model);
  options.instances = kInstances;
  const auto loaded = load(model.file, options);
  TAKT_ASSERT_OK(loaded);
  const auto alone = (*loaded)->open_instance({kDeviceName, 0});
  TAKT_ASSERT_OK(alone);
  std::deque<Request> expected;
  for (std::int64_t rows = 1; rows <= 8; ++rows) {
    expected.push_back(make_request(signature, static_cast<std::uint64_t>(rows), rows));
    TAKT_ASSERT_OK(run(**alone, expected.back()).status);
  }
  std::atomic<int> different = 0;
  const auto feed = [&](int lane) {
    const auto instance = (*loaded)->open_instance({kDeviceName, lane});
    for (int round = 0; instance && round < 50; ++round) {
      const std::int64_t rows = 1 + (round * 5 + lane) % 8;
      Request request = make_request(signature, static_cast<std::uint64_t>(rows), rows);
      const std::vector<Sample> samples{request.sample()};
      const bool same = (*instance)->run(samples).status &&
                        request.floats(0) == expected[static_cast<std::size_t>(rows - 1)].floats(0);
      if (!same) ++different;
    }
    if (!instance) ++different;
  };
  {
    std::vector<std::jthread> threads;
    for (int lane = 0; lane < kInstances; ++lane) threads.emplace_back(feed, lane);
  }
  EXPECT_EQ(different, 0);
}

// While others run batches: what a load allocates and records must not disturb them.
TEST_F(GpuBackend, ModelsComeAndGoWhileOthersRun) {
  const TestModel model = conv_net();
  const auto instance = open(model, options_of(model));
  ASSERT_NE(instance, nullptr);
  const Signature signature{model.inputs, model.outputs, model.batch_max};
  Request expected = make_request(signature, 1, 3);
  TAKT_ASSERT_OK(run(*instance, expected).status);
  std::atomic<bool> stop = false;
  std::atomic<int> different = 0;
  {
    const std::jthread runs([&] {
      while (!stop) {
        Request request = make_request(signature, 1, 3);
        const std::vector<Sample> samples{request.sample()};
        const bool same = instance->run(samples).status && request.floats(0) == expected.floats(0);
        if (!same) ++different;
      }
    });
    for (int round = 0; round < 5; ++round) {
      EXPECT_NE(open(rgb().model, options_of(rgb().model)), nullptr);
    }
    stop = true;
  }
  EXPECT_EQ(different, 0);
}

TEST_F(GpuBackend, TheDestructorWaitsForTheBatch) {
  const TestModel model = conformance::large_conv_net();
  auto instance = open(model, options_of(model));
  ASSERT_NE(instance, nullptr);
  Request request = make_request({model.inputs, model.outputs, model.batch_max}, 1, 8);
  const std::vector<Sample> samples{request.sample()};
  std::atomic<int> completed = 0;
  const Result<void> submitted = instance->submit(
      samples, [&](const BatchOutcome& outcome) { completed += outcome.status ? 1 : 0; });
  TAKT_ASSERT_OK(submitted);
  instance.reset();
  EXPECT_EQ(completed, 1);
  EXPECT_EQ(request.outputs[1].bytes_used, 8 * 5 * sizeof(float));
}

// A region that has no size any more is found when the batch is gathered, behind other requests of it.
TEST_F(GpuBackendPinned, ABatchThatFailedDoesNotDisturbTheNext) {
  ImageModel images = two_gray(Fit::stretch);
  const auto instance = open(images.model, pinned_options(images));
  ASSERT_NE(instance, nullptr);
  std::deque<Request> outside = image_batch(images);
  TAKT_ASSERT_OK(run(*instance, outside).status);
  constexpr float kNothing = 1e-45F;
  for (int round = 0; round < 3; ++round) {
    std::deque<Request> bad = image_batch(images);
    bad.push_back(image_request(images, 4, 20, 20, {0, 0, kNothing, kNothing}));
    std::size_t offset = 1;
    for (Request& request : bad) pin(request, offset);
    expect_error(run(*instance, bad).status, ErrorKind::invalid_input, {"input 'image'", "region"});
    expect_the_same(*instance, outside, images);
  }
}

}  // namespace
}  // namespace takt::cuda
