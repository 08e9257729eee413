// SPDX-License-Identifier: Apache-2.0
#include "backend/cuda/device_tests/backend_fixture.h"

#include "graph/import.h"

#include <gmock/gmock.h>
#include <sys/mman.h>
#include <unistd.h>

#include <algorithm>
#include <cmath>
#include <cstdlib>
#include <cstring>
#include <system_error>
#include <utility>

namespace takt::cuda {
namespace {

namespace fs = std::filesystem;
using conformance::Request;
using conformance::TestModel;

// What is compared, as numbers.
std::vector<double> numbers(DataType type, std::span<const std::byte> bytes) {
  const auto all_as = [&]<typename Number>(Number number) {
    std::vector<double> values;
    for (std::size_t at = 0; at + sizeof(number) <= bytes.size(); at += sizeof(number)) {
      std::memcpy(&number, bytes.data() + at, sizeof(number));
      values.push_back(static_cast<double>(number));
    }
    return values;
  };
  if (type == DataType::fp32) return all_as(0.0F);
  if (type == DataType::int64) return all_as(std::int64_t{0});
  return all_as(std::uint8_t{0});
}

struct ProcessFolder {
  fs::path path = fs::temp_directory_path() / ("takt-gpu-plans-" + std::to_string(::getpid()));
  ~ProcessFolder() {
    std::error_code ignored;
    fs::remove_all(path, ignored);
  }
};

}  // namespace

Result<std::unique_ptr<Backend>> make_gpu_backend(AllocationGate* gate) {
  if (const Result<Gpu> found = find_gpu(); !found) return std::unexpected(found.error());
  return make_cuda_backend(
      {library_search(folders_of_environment(), fs::read_symlink("/proc/self/exe")), kTestVersion,
       gate});
}

fs::path plans_of_this_process() {
  static const ProcessFolder folder;
  return folder.path;
}

Mapping::Mapping(std::size_t bytes) {
  void* const mapped =
      ::mmap(nullptr, bytes, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
  if (mapped == MAP_FAILED) std::abort();
  bytes_ = {static_cast<std::byte*>(mapped), bytes};
}

Mapping::~Mapping() {
  ::munmap(bytes_.data(), bytes_.size());
}

ImageView Mapping::put(const Image& image, std::size_t offset) const {
  const std::span<std::byte> place = bytes_.subspan(offset, image.pixels.size());
  std::memcpy(place.data(), image.pixels.data(), place.size());
  ImageView view = image.view();
  view.pixels = reinterpret_cast<const std::uint8_t*>(place.data());
  return view;
}

void GpuBackendTest::SetUp() {
  GpuTest::SetUp();
  if (IsSkipped() || HasFatalFailure()) return;
  std::string pattern = testing::TempDir() + "takt-gpu-backend-XXXXXX";
  ASSERT_NE(::mkdtemp(pattern.data()), nullptr);
  folder_ = pattern;
  Result<std::unique_ptr<Backend>> made = make_gpu_backend();
  TAKT_ASSERT_OK(made);
  backend_ = *std::move(made);
}

GpuBackendTest::~GpuBackendTest() {
  std::error_code ignored;
  if (!folder_.empty()) fs::remove_all(folder_, ignored);
}

LoadOptions GpuBackendTest::options_of(const TestModel& model) {
  LoadOptions options = conformance::options_of(model);
  options.device = kDeviceName;
  options.cache_dir = plans_of_this_process();
  options.parameters = {{"cuda.effort", "fast"}};
  return options;
}

Result<std::shared_ptr<const LoadedModel>> GpuBackendTest::load(const std::string& file,
                                                                const LoadOptions& options) const {
  return backend_->load({file, 1, conformance::model_file(file)}, options);
}

std::unique_ptr<Instance> GpuBackendTest::open(const TestModel& model,
                                               const LoadOptions& options) const {
  const auto loaded = load(model.file, options);
  EXPECT_TRUE(loaded.has_value()) << loaded.error().message;
  if (!loaded) return nullptr;
  auto instance = (*loaded)->open_instance({kDeviceName, 0});
  EXPECT_TRUE(instance.has_value()) << instance.error().message;
  return instance ? *std::move(instance) : nullptr;
}

Result<std::vector<graph::Constant>> reference_of(const TestModel& model, const Request& request) {
  graph::ImportOptions options;
  std::vector<graph::Constant> inputs;
  for (std::size_t i = 0; i < request.inputs.size(); ++i) {
    const auto& tensor = std::get<TensorView>(request.inputs[i]);
    options.input_shapes.emplace(model.inputs[i].name, tensor.shape);
    inputs.push_back({{tensor.type, tensor.shape}, {tensor.bytes.begin(), tensor.bytes.end()}});
  }
  const auto graph = graph::import_onnx_file(conformance::model_file(model.file), options);
  if (!graph) return std::unexpected(graph.error());
  return graph::evaluate(*graph, inputs);
}

void expect_outputs(const Request& request, const std::vector<graph::Constant>& expected,
                    double tolerance) {
  ASSERT_EQ(request.outputs.size(), expected.size());
  for (std::size_t i = 0; i < expected.size(); ++i) {
    const TensorView got = request.outputs[i].view();
    ASSERT_EQ(got.type, expected[i].type.type);
    ASSERT_EQ(got.shape, expected[i].type.shape);
    const std::vector<double> values = numbers(got.type, got.bytes);
    const std::vector<double> wanted = numbers(got.type, expected[i].bytes);
    ASSERT_EQ(values.size(), wanted.size());
    double largest = 0;
    for (const double value : wanted) largest = std::max(largest, std::abs(value));
    for (std::size_t k = 0; k < values.size(); ++k) {
      ASSERT_NEAR(values[k], wanted[k], tolerance * largest)
          << "output " << i << ", element " << k << ", of numbers up to " << largest;
    }
  }
}

void expect_error(const Result<void>& result, ErrorKind kind,
                  const std::vector<std::string>& texts) {
  ASSERT_FALSE(result.has_value());
  EXPECT_EQ(to_string(result.error().kind), to_string(kind)) << result.error().message;
  for (const std::string& text : texts) {
    EXPECT_THAT(result.error().message, testing::HasSubstr(text));
  }
}

}  // namespace takt::cuda
