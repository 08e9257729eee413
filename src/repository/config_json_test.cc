// SPDX-License-Identifier: Apache-2.0
#include "repository/config_json.h"

#include "repository/model_config.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

namespace takt::repository {
namespace {

using ::testing::AllOf;
using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::Not;
using ::testing::Pair;

Result<ModelConfig> config_of(std::string_view json) {
  const Result<std::string> text = config_text_of_json(json);
  if (!text) return std::unexpected(text.error());
  return parse_model_config(*text, "config.pbtxt");
}

std::string error_of(std::string_view json) {
  const Result<std::string> text = config_text_of_json(json);
  if (text) return "no error";
  EXPECT_EQ(text.error().kind, ErrorKind::invalid_input);
  EXPECT_THAT(text.error().message, HasSubstr("config: "));
  return text.error().message;
}

// What a server of Triton's answers to a question for a model's configuration, and its clients send
// back with a changed value.
constexpr std::string_view kComplete = R"({
  "name": "m", "platform": "onnxruntime_onnx", "backend": "onnxruntime", "runtime": "",
  "version_policy": {"latest": {"num_versions": 2}},
  "max_batch_size": 8,
  "input": [{"name": "x", "data_type": "TYPE_FP32", "format": "FORMAT_NONE", "dims": [4, -1],
             "is_shape_tensor": false, "allow_ragged_batch": false, "optional": false}],
  "output": [{"name": "y", "data_type": "TYPE_INT64", "dims": ["4"], "label_filename": "",
              "is_shape_tensor": false}],
  "batch_input": [], "batch_output": [],
  "optimization": {"priority": "PRIORITY_DEFAULT", "input_pinned_memory": {"enable": true},
                   "gather_kernel_buffer_threshold": 0, "eager_batching": false},
  "dynamic_batching": {"preferred_batch_size": [4], "max_queue_delay_microseconds": "250",
                       "preserve_ordering": false, "priority_queue_policy": {},
                       "default_queue_policy": {"timeout_action": "REJECT", "max_queue_size": 7}},
  "instance_group": [{"name": "m", "kind": "KIND_CPU", "count": 2, "gpus": [],
                      "secondary_devices": [], "profile": [], "passive": false,
                      "host_policy": ""}],
  "default_model_filename": "model.onnx", "cc_model_filenames": {"6.1": "a b"},
  "metric_tags": {}, "parameters": {"threads": {"string_value": "2"},
                                    "a \"b\"\n": {"string_value": "c\\d\t\u00e9"}},
  "model_warmup": [], "sequence_batching": null
})";

TEST(ConfigJson, EveryFieldOfATritonConfigIsRead) {
  const Result<ModelConfig> config = config_of(kComplete);
  ASSERT_TRUE(config) << config.error().message;
  EXPECT_EQ(config->name, "m");
  EXPECT_EQ(config->max_batch_size, 8);
  ASSERT_EQ(config->inputs.size(), 1U);
  EXPECT_EQ(config->inputs[0].dims, (Shape{4, -1}));
  ASSERT_EQ(config->outputs.size(), 1U);
  EXPECT_EQ(config->outputs[0].type, DataType::int64);
  EXPECT_EQ(config->outputs[0].dims, Shape{4}) << "a number as a string";
  EXPECT_EQ(config->dynamic_batching->max_queue_delay, std::chrono::microseconds(250));
  EXPECT_EQ(config->dynamic_batching->queue_size_max, 7);
  ASSERT_EQ(config->instance_groups.size(), 1U);
  EXPECT_EQ(config->instance_groups[0].count, 2);
  EXPECT_EQ(config->instance_groups[0].kind, InstanceKind::cpu);
  EXPECT_EQ(config->version_policy.num_versions, 2);
  EXPECT_THAT(config->parameters,
              ElementsAre(Pair("a \"b\"\n", "c\\d\t\u00e9"), Pair("threads", "2")));
}

TEST(ConfigJson, EachVersionPolicyIsRead) {
  EXPECT_EQ(config_of(R"({"version_policy": {"all": {}}})")->version_policy.kind,
            VersionPolicy::Kind::all);
  EXPECT_THAT(config_of(R"({"version_policy": {"specific": {"versions": [3, 1]}}})")
                  ->version_policy.versions,
              ElementsAre(3, 1));
}

TEST(ConfigJson, NothingStatedLeavesAllToTheFile) {
  const Result<ModelConfig> config = config_of("{}");
  ASSERT_TRUE(config) << config.error().message;
  EXPECT_FALSE(config->max_batch_size);
}

TEST(ConfigJson, AnUnknownFieldIsNamedWithTheNearestOne) {
  EXPECT_EQ(error_of(R"({"max_bach_size": 0})"),
            "config: unknown field 'max_bach_size'; did you mean 'max_batch_size'?");
  EXPECT_THAT(error_of(R"({"input": [{"nam": "x"}]})"), HasSubstr("unknown field 'nam'"));
  EXPECT_THAT(error_of(R"({"nonsense": []})"), HasSubstr("unknown field 'nonsense'"));
}

TEST(ConfigJson, AFieldThatCannotBeHonouredSaysWhy) {
  EXPECT_THAT(error_of(R"({"sequence_batching": {"max_sequence_idle_microseconds": 5}})"),
              HasSubstr("field 'sequence_batching' can't be honoured"));
}

TEST(ConfigJson, AValueOfAnotherKindIsRefusedWithItsPlace) {
  EXPECT_EQ(error_of(R"({"max_batch_size": "many"})"),
            "config: max_batch_size: expected a whole number");
  EXPECT_THAT(error_of(R"({"max_batch_size": 1.5})"), HasSubstr("expected a whole number"));
  EXPECT_THAT(error_of(R"({"backend": 3})"), HasSubstr("backend: expected a string"));
  EXPECT_THAT(error_of(R"({"input": {}})"), HasSubstr("input: expected a list"));
  EXPECT_THAT(error_of(R"({"input": [1]})"), HasSubstr("input[0]: expected an object"));
  EXPECT_THAT(error_of(R"({"input": [{"name": "x", "data_type": 11}]})"),
              HasSubstr("input[0].data_type: expected a name"));
  EXPECT_THAT(error_of(R"({"input": [{"name": "x", "data_type": "TYPE_FLOAT"}]})"),
              HasSubstr("unknown value 'TYPE_FLOAT' for field 'data_type'"));
  EXPECT_THAT(error_of(R"({"instance_group": [{"passive": "no"}]})"),
              HasSubstr("instance_group[0].passive: expected true or false"));
  EXPECT_THAT(error_of(R"({"parameters": {"k": "v"}})"),
              HasSubstr("parameters.k: expected an object"));
  EXPECT_THAT(error_of(R"({"max_batch_size": 100000})"), HasSubstr("expected 0 to 4096"));
}

TEST(ConfigJson, NothingInAValueOrNameBecomesAFieldOfItsOwn) {
  EXPECT_THAT(error_of(R"({"max_batch_size: 4 backend": "x"})"), HasSubstr("no field has this"));
  EXPECT_THAT(error_of(R"({"instance_group": [{"kind": "KIND_CPU count: 9"}]})"),
              HasSubstr("expected a name"));
  EXPECT_THAT(error_of(R"({"max_batch_size": "4 backend: \"simulated\""})"),
              HasSubstr("expected a whole number"));
  const Result<ModelConfig> config = config_of(R"({"name": "\" max_batch_size: 4 #"})");
  ASSERT_TRUE(config) << config.error().message;
  EXPECT_EQ(config->name, "\" max_batch_size: 4 #");
  EXPECT_FALSE(config->max_batch_size);
}

TEST(ConfigJson, WhatIsNoJsonObjectIsRefused) {
  for (const char* const text : {"", "max_batch_size: 8", "[]", "3", "{\"name\": ", "{} {}"}) {
    EXPECT_THAT(error_of(text), HasSubstr("expected a JSON object")) << text;
  }
  EXPECT_THAT(error_of(std::string(100'000, '[')), HasSubstr("expected a JSON object"));
  EXPECT_THAT(error_of(std::string(1 << 20, ' ') + "{}"), HasSubstr("larger than"));
}

TEST(ConfigJson, NestingThatNobodyNeedsDoesNoHarm) {
  const std::string deep = std::string(50'000, '[') + std::string(50'000, ']');
  EXPECT_EQ(error_of(R"({"optimization": )" + deep + "}"), "no error");
  EXPECT_THAT(error_of(R"({"input": )" + deep + "}"), HasSubstr("input[0]: expected an object"));
}

TEST(ConfigJson, MessagesNameNoLineOfATextThatNobodySees) {
  EXPECT_THAT(error_of(R"({"backend": "a", "max_bach_size": 1})"), Not(HasSubstr("config:1")));
  EXPECT_THAT(error_of(R"({"backend": "simulatd"})"),
              AllOf(HasSubstr("config: backend: "), HasSubstr("did you mean 'simulated'?")));
}

}  // namespace
}  // namespace takt::repository
