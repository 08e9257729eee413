// SPDX-License-Identifier: Apache-2.0
// The models that the examples of Triton's clients ask for, from their folder to their answers.
#include "core/string_tensor.h"
#include "worker/backends.h"
#include "worker/batch_run.h"
#include "worker/load_runtime.h"

#include <gtest/gtest.h>

#include <numeric>

namespace takt::worker {
namespace {

using Strings = std::vector<std::string>;

const std::filesystem::path kRepository = std::filesystem::path(TAKT_TEST_MODELS) / "triton";

repository::ModelVersion version_of(const std::string& name) {
  return repository::scan_model(kRepository, name).value().versions.front().result.value();
}

Result<ModelRuntime> load(const std::string& backend, const repository::ModelVersion& version) {
  RuntimeOptions options;
  options.profile_time_max = Duration::zero();
  return load_runtime(*make_backend(backend).value(), version, options);
}

std::vector<std::byte> bytes_of(const Strings& strings) {
  std::vector<std::byte> bytes(4096);
  std::size_t used = 0;
  for (const std::string& element : strings) used = put_string(bytes, used, element).value();
  bytes.resize(used);
  return bytes;
}

Strings strings_in(const OutputBuffer& buffer) {
  StringElements elements(buffer.view().bytes);
  Strings found;
  while (const auto element = elements.next()) found.emplace_back(*element);
  EXPECT_TRUE(elements.ok());
  return found;
}

// 0 to 15, as the examples send them.
std::vector<std::int32_t> sixteen() {
  std::vector<std::int32_t> numbers(16);
  std::iota(numbers.begin(), numbers.end(), 0);
  return numbers;
}

Strings texts(const std::vector<std::int32_t>& numbers) {
  Strings strings;
  for (const std::int32_t number : numbers) strings.push_back(std::to_string(number));
  return strings;
}

TEST(TritonModels, TheWholeRepositoryIsReadAndLoads) {
  const auto models = repository::scan(kRepository).value();
  std::vector<std::string> names;
  for (const repository::ScannedModel& model : models) {
    SCOPED_TRACE(model.name);
    names.push_back(model.name);
    ASSERT_TRUE(model.status) << model.status.error().message;
    ASSERT_EQ(model.versions.size(), 1U);
    const Result<repository::ModelVersion>& version = model.versions.front().result;
    ASSERT_TRUE(version) << version.error().message;
    EXPECT_EQ(model.notes.size(), 0U);
    const bool labelled = model.name == "simple_labels";
    EXPECT_EQ(version->config.outputs.front().labels.size(), labelled ? 16U : 0U);
    const auto runtime = load("simulated", *version);
    ASSERT_TRUE(runtime) << runtime.error().message;
    EXPECT_EQ(runtime->signature.batch_max, model.name == "identity_fp32" ? 0 : 8);
    EXPECT_EQ(runtime->profile.size(), model.name == "identity_fp32" ? 1U : 4U);
  }
  EXPECT_EQ(names, (Strings{"custom_identity_int32", "identity_fp32", "simple", "simple_identity",
                            "simple_int8", "simple_labels", "simple_string"}));
}

TEST(TritonModels, SimpleAddsAndSubtractsOnEveryBackend) {
  const std::vector<std::int32_t> counted = sixteen();
  const std::vector<std::int32_t> ones(16, 1);
  for (const char* backend : {"openvino", "simulated"}) {
    SCOPED_TRACE(backend);
    const auto runtime = load(backend, version_of("simple"));
    ASSERT_TRUE(runtime) << runtime.error().message;
    const std::vector<InputData> inputs{
        TensorView{DataType::int32, {1, 16}, std::as_bytes(std::span(counted))},
        TensorView{DataType::int32, {1, 16}, std::as_bytes(std::span(ones))}};
    BatchRun run(runtime->signature, runtime->output_bytes_max);
    run.add(inputs, 1);
    const auto times = run.run(*runtime->instances[0]);
    ASSERT_TRUE(times) << times.error().message;
    for (std::int32_t i = 0; i < 16; ++i) {
      const auto place = static_cast<std::size_t>(i);
      EXPECT_EQ(run.outputs(0)[0].view().as<std::int32_t>()[place], i + 1);
      EXPECT_EQ(run.outputs(0)[1].view().as<std::int32_t>()[place], i - 1);
    }
  }
}

TEST(TritonModels, SimpleStringAddsAndSubtractsInBatches) {
  const auto runtime = load("simulated", version_of("simple_string"));
  ASSERT_TRUE(runtime) << runtime.error().message;
  EXPECT_EQ(runtime->output_bytes_max, (std::vector<std::size_t>{384, 384}));
  const std::vector<std::byte> counted = bytes_of(texts(sixteen()));
  const std::vector<std::byte> large = bytes_of(Strings(16, "-4611686018427387904"));
  const std::vector<InputData> first{TensorView{DataType::bytes, {1, 16}, counted},
                                     TensorView{DataType::bytes, {1, 16}, counted}};
  const std::vector<InputData> second{TensorView{DataType::bytes, {1, 16}, large},
                                      TensorView{DataType::bytes, {1, 16}, large}};
  BatchRun run(runtime->signature, runtime->output_bytes_max);
  run.add(first, 1);
  run.add(second, 1);
  const auto times = run.run(*runtime->instances[0]);
  ASSERT_TRUE(times) << times.error().message;
  EXPECT_EQ(strings_in(run.outputs(0)[0])[15], "30");
  EXPECT_EQ(strings_in(run.outputs(0)[1]), Strings(16, "0"));
  EXPECT_EQ(strings_in(run.outputs(1)[0]), Strings(16, "-9223372036854775808"))
      << "the room that config.pbtxt states is exactly enough";
  EXPECT_EQ(run.outputs(1)[0].bytes_used, 384U);
}

TEST(TritonModels, IdentityOfOpenSizeRunsOnEveryBackend) {
  const std::vector<float> values{1, 2, 3, 4, 5};
  for (const char* backend : {"openvino", "simulated"}) {
    SCOPED_TRACE(backend);
    const auto runtime = load(backend, version_of("identity_fp32"));
    ASSERT_TRUE(runtime) << runtime.error().message;
    const std::vector<InputData> inputs{
        TensorView{DataType::fp32, {5}, std::as_bytes(std::span(values))}};
    BatchRun run(runtime->signature, runtime->output_bytes_max);
    run.add(inputs, 1);
    const auto times = run.run(*runtime->instances[0]);
    ASSERT_TRUE(times) << times.error().message;
    EXPECT_EQ(run.outputs(0)[0].shape, (Shape{5}));
    EXPECT_TRUE(std::ranges::equal(run.outputs(0)[0].view().as<float>(), values));
  }
}

TEST(TritonModels, SimpleIdentityGivesStringsOfAnyLengthBack) {
  const auto runtime = load("simulated", version_of("simple_identity"));
  ASSERT_TRUE(runtime) << runtime.error().message;
  const Strings strings{"", std::string(3000, 'x'), std::string("\0\xff", 2)};
  const std::vector<std::byte> bytes = bytes_of(strings);
  const std::vector<InputData> inputs{TensorView{DataType::bytes, {1, 3}, bytes}};
  BatchRun run(runtime->signature, runtime->output_bytes_max);
  run.add(inputs, 1);
  const auto times = run.run(*runtime->instances[0]);
  ASSERT_TRUE(times) << times.error().message;
  EXPECT_EQ(strings_in(run.outputs(0)[0]), strings);
}

TEST(TritonModels, OpenVinoSaysThatItTakesNoStrings) {
  const auto runtime = load("openvino", version_of("simple_string"));
  ASSERT_FALSE(runtime);
  EXPECT_EQ(runtime.error().kind, ErrorKind::invalid_input);
  EXPECT_NE(runtime.error().message.find("'INPUT0' holds strings"), std::string::npos)
      << runtime.error().message;
}

}  // namespace
}  // namespace takt::worker
