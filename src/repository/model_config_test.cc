// SPDX-License-Identifier: Apache-2.0
#include "repository/model_config.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

namespace takt::repository {
namespace {

using ::testing::AllOf;
using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::IsEmpty;
using ::testing::Pair;

std::string error_of(std::string_view text) {
  const Result<ModelConfig> config = parse_model_config(text, "m/config.pbtxt");
  if (config) return "no error";
  EXPECT_EQ(config.error().kind, ErrorKind::invalid_input);
  EXPECT_THAT(config.error().message, HasSubstr("m/config.pbtxt"));
  return config.error().message;
}

constexpr std::string_view kFull = R"(
name: "detector"
platform: "onnxruntime_onnx"
max_batch_size: 8
input [
  {
    name: "images"
    data_type: TYPE_FP32
    format: FORMAT_NCHW
    dims: [ 3, 640, 640 ]
  }
]
output { name: "boxes" data_type: TYPE_FP16 dims: [ 84, -1 ] }
output { name: "names" data_type: TYPE_STRING dims: [ 1 ] label_filename: "labels.txt" }
dynamic_batching {
  preferred_batch_size: [ 8, 4, 4 ]
  max_queue_delay_microseconds: 1500
}
instance_group [ { count: 2 kind: KIND_CPU }, { kind: KIND_GPU gpus: [ 0, 1 ] } ]
version_policy: { specific { versions: [ 3, 1 ] } }
parameters: { key: "precision" value: { string_value: "fp16" } }
parameters: { key: "cpus" value: { string_value: "0-3" } }
optimization { execution_accelerators { gpu_execution_accelerator : [ { name : "tensorrt" } ] } }
)";

TEST(ModelConfigText, EveryFieldOfATritonConfigIsRead) {
  const Result<ModelConfig> config = parse_model_config(kFull, "config.pbtxt");
  ASSERT_TRUE(config.has_value()) << config.error().message;
  EXPECT_EQ(config->name, "detector");
  EXPECT_EQ(config->backend, "") << "ONNX Runtime's files run on any backend";
  EXPECT_EQ(config->max_batch_size, 8);
  ASSERT_EQ(config->inputs.size(), 1U);
  EXPECT_EQ(config->inputs[0].name, "images");
  EXPECT_EQ(config->inputs[0].type, DataType::fp32);
  EXPECT_EQ(config->inputs[0].dims, (Shape{3, 640, 640}));
  EXPECT_EQ(config->inputs[0].format, "FORMAT_NCHW");
  ASSERT_EQ(config->outputs.size(), 2U);
  EXPECT_EQ(config->outputs[0].type, DataType::fp16);
  EXPECT_EQ(config->outputs[0].dims, (Shape{84, -1}));
  EXPECT_EQ(config->outputs[1].type, DataType::bytes);
  EXPECT_EQ(config->outputs[1].label_filename, "labels.txt");
  ASSERT_TRUE(config->dynamic_batching.has_value());
  EXPECT_THAT(config->dynamic_batching->preferred_batch_size, ElementsAre(4, 8));
  EXPECT_EQ(config->dynamic_batching->max_queue_delay, std::chrono::microseconds(1500));
  ASSERT_EQ(config->instance_groups.size(), 2U);
  EXPECT_EQ(config->instance_groups[0].count, 2);
  EXPECT_EQ(config->instance_groups[0].kind, InstanceKind::cpu);
  EXPECT_EQ(config->instance_groups[1].count, 1);
  EXPECT_THAT(config->instance_groups[1].gpus, ElementsAre(0, 1));
  EXPECT_EQ(config->version_policy.kind, VersionPolicy::Kind::specific);
  EXPECT_THAT(config->version_policy.versions, ElementsAre(3, 1));
  EXPECT_THAT(config->parameters, ElementsAre(Pair("cpus", "0-3"), Pair("precision", "fp16")));
}

TEST(ModelConfigText, LabelsLieBesideTheFile) {
  for (const char* name : {"../labels.txt", "/etc/passwd", "..", "a/b"}) {
    const Result<ModelConfig> config = parse_model_config(
        "output { name: \"y\" data_type: TYPE_FP32 dims: [ 1 ] label_filename: \"" +
            std::string(name) + "\" }",
        "config.pbtxt");
    ASSERT_FALSE(config.has_value()) << name;
    EXPECT_THAT(config.error().message, HasSubstr("beside config.pbtxt"));
  }
}

TEST(ModelConfigText, FieldsWithoutEffectAreListedWithTheirLine) {
  const Result<ModelConfig> config = parse_model_config(kFull, "config.pbtxt");
  ASSERT_TRUE(config.has_value());
  EXPECT_THAT(config->ignored_fields, ElementsAre("optimization (line 23)"));
}

TEST(ModelConfigText, AnEmptyConfigLeavesEverythingOpen) {
  const Result<ModelConfig> config = parse_model_config("# nothing\n", "config.pbtxt");
  ASSERT_TRUE(config.has_value());
  EXPECT_FALSE(config->max_batch_size.has_value());
  EXPECT_THAT(config->inputs, IsEmpty());
  EXPECT_EQ(config->version_policy.kind, VersionPolicy::Kind::latest);
  EXPECT_EQ(config->version_policy.num_versions, 1);
  EXPECT_EQ(config->model_filename, "model.onnx");
}

TEST(ModelConfigText, AMistypedFieldIsNamedWithPlaceAndSuggestion) {
  EXPECT_THAT(error_of("name: \"m\"\nmax_batchsize: 8\n"),
              AllOf(HasSubstr("config.pbtxt:2:"), HasSubstr("unknown field 'max_batchsize'"),
                    HasSubstr("did you mean 'max_batch_size'?")));
  EXPECT_THAT(error_of("input { name: \"x\"\n dtype: TYPE_FP32 dims: 1 }"),
              AllOf(HasSubstr("config.pbtxt:2:"), HasSubstr("unknown field 'dtype'"),
                    HasSubstr("data_type")));
}

TEST(ModelConfigText, AMistypedFieldComesBeforeTheErrorsThatFollow) {
  EXPECT_THAT(error_of("inptu { name: \"x\" }\nmax_batch_size: \"eight\"\n"),
              HasSubstr("did you mean 'input'?"));
}

TEST(ModelConfigText, AMistypedValueIsNamedWithSuggestion) {
  EXPECT_THAT(error_of("input {\n  data_type: TYPE_FP31\n}"),
              AllOf(HasSubstr("config.pbtxt:2:"), HasSubstr("'TYPE_FP31'"),
                    HasSubstr("did you mean 'TYPE_FP3")));
  EXPECT_THAT(error_of("instance_group { kind: KIND_CPV }"), HasSubstr("did you mean 'KIND_CPU'?"));
}

TEST(ModelConfigText, SyntaxErrorsHaveAPlaceAndAnExample) {
  EXPECT_THAT(error_of("name: \"m\"\nmax_batch_size = 8\n"),
              AllOf(HasSubstr("config.pbtxt:2:16: "), HasSubstr("max_batch_size: 8")));
  EXPECT_THAT(error_of("input {"), HasSubstr("config.pbtxt:1:8"));
  EXPECT_THAT(error_of("max_batch_size: 4\nmax_batch_size: 8\n"),
              AllOf(HasSubstr("config.pbtxt:2:"), HasSubstr("'max_batch_size' is given twice")));
  EXPECT_THAT(error_of(std::string_view("name\0", 5)), HasSubstr("zero byte at offset 4"));
}

TEST(ModelConfigText, DeepNestingIsRefusedBeforeItIsParsed) {
  std::string deep;
  for (int i = 0; i < 20000; ++i) deep += "x {";
  EXPECT_THAT(error_of(deep), HasSubstr("nested brackets"));
}

// protobuf ends a quoted string at the end of its line, whatever stands before that.
TEST(ModelConfigText, DeepNestingIsSeenBehindALineThatEndsInABackslash) {
  for (const std::string begin : {"x: \"\\\n", "x: '\\\n", "x: \"\\\\\\\n"}) {
    std::string deep = begin;
    for (int i = 0; i < 80000; ++i) deep += "x{";
    EXPECT_THAT(error_of(deep), HasSubstr("nested brackets")) << begin;
  }
}

TEST(ModelConfigText, TooLargeIsRefused) {
  EXPECT_THAT(error_of(std::string(std::size_t{300} * 1024, ' ')),
              HasSubstr("larger than 262144 bytes"));
}

struct Refused {
  const char* text;
  const char* field;
  const char* essential;
};

class RefusedConfig : public ::testing::TestWithParam<Refused> {};

TEST_P(RefusedConfig, NamesTheFieldAndTheRemedy) {
  EXPECT_THAT(error_of(GetParam().text),
              AllOf(HasSubstr(GetParam().field), HasSubstr(GetParam().essential)));
}

INSTANTIATE_TEST_SUITE_P(
    ModelConfigText, RefusedConfig,
    ::testing::Values(
        Refused{"input { name: \"x\" data_type: TYPE_FP32 dims: 1 reshape { shape: [] } }",
                "'reshape'", "export the model with that shape"},
        Refused{"ensemble_scheduling { step { model_name: \"a\" } }", "'ensemble_scheduling'",
                "cascaded tasks in takt.yaml"},
        Refused{"sequence_batching { direct {} }", "'sequence_batching'", "no state"},
        Refused{"model_transaction_policy { decoupled: true }", "decoupled", "one answer"},
        Refused{"platform: \"tensorrt_plan\"", "platform", "export the model to ONNX"},
        Refused{"backend: \"openvno\"", "backend", "did you mean 'openvino'?"},
        Refused{"max_batch_size: -1", "max_batch_size", "expected 0 to 4096"},
        Refused{"max_batch_size: 100000", "max_batch_size", "expected 0 to 4096"},
        Refused{"input { data_type: TYPE_FP32 dims: 1 }", "input[0].name", "missing"},
        Refused{"input { name: \"x\" dims: 1 }", "input[0] 'x'.data_type", "TYPE_FP32"},
        Refused{"input { name: \"x\" data_type: TYPE_FP32 }", "'x'.dims", "1 to 16"},
        Refused{"input { name: \"x\" data_type: TYPE_FP32 dims: [ 3, 0 ] }", "'x'.dims",
                "dimension 0"},
        Refused{"input { name: \"x\" data_type: TYPE_FP32 dims: -2 }", "'x'.dims", "dimension -2"},
        Refused{"input { name: \"x\" data_type: TYPE_FP32 dims: 1 optional: true }", "'x'.optional",
                "every input must be fed"},
        Refused{"output { name: \"y\" data_type: TYPE_FP32 dims: 1 }"
                "output { name: \"y\" data_type: TYPE_FP32 dims: 1 }",
                "output[1]", "used twice"},
        Refused{"max_batch_size: 0 dynamic_batching {}", "dynamic_batching", "max_batch_size is 0"},
        Refused{"max_batch_size: 4 dynamic_batching { preferred_batch_size: 8 }",
                "preferred_batch_size", "1 to max_batch_size (4)"},
        Refused{"dynamic_batching { default_queue_policy { max_queue_size: 1000001 } }",
                "default_queue_policy.max_queue_size", "at most 1000000"},
        Refused{"dynamic_batching { max_queue_delay_microseconds: 60000000 }",
                "max_queue_delay_microseconds", "10 s"},
        Refused{"instance_group { count: 0 }", "instance_group[0].count", "1 to 64"},
        Refused{"instance_group { kind: KIND_MODEL }", "instance_group[0].kind", "KIND_AUTO"},
        Refused{"instance_group { kind: KIND_CPU gpus: 1 }", "instance_group[0].gpus", "no GPUs"},
        Refused{"instance_group { passive: true }", "passive", "remove the group"},
        Refused{"version_policy { latest { num_versions: 0 } }", "num_versions", "1 to 1024"},
        Refused{"version_policy { specific {} }", "specific.versions", "at least one"},
        Refused{"version_policy { specific { versions: 0 } }", "specific.versions", "from 1"},
        Refused{"default_model_filename: \"../../x.onnx\"", "default_model_filename",
                "plain name"}));

TEST(ModelConfigText, FieldsThatSwitchNothingOnAreAccepted) {
  const Result<ModelConfig> config = parse_model_config(
      "model_transaction_policy { decoupled: false }\n"
      "input { name: \"x\" data_type: TYPE_FP32 dims: 1 optional: false format: FORMAT_NCHW }",
      "config.pbtxt");
  EXPECT_TRUE(config.has_value()) << config.error().message;
}

TEST(ModelConfigFile, AMissingFileIsNamed) {
  const Result<ModelConfig> config = read_model_config("/nonexistent/config.pbtxt");
  ASSERT_FALSE(config.has_value());
  EXPECT_THAT(config.error().message, HasSubstr("/nonexistent/config.pbtxt: no such file"));
}

}  // namespace
}  // namespace takt::repository
