// SPDX-License-Identifier: Apache-2.0
// Damaged input of any kind gives a result or an error, never a crash. The seed is fixed: a failure
// repeats. Run under ASan too.
#include "repository/config_json.h"
#include "repository/model_config.h"
#include "repository/onnx_model.h"
#include "repository/reference.h"
#include "repository/test_model.h"

#include <gtest/gtest.h>

#include <random>

namespace takt::repository {
namespace {

// Changes, inserts, removes or repeats a few bytes. mt19937's numbers are the same everywhere.
std::string mutate(std::string bytes, std::mt19937& random) {
  const auto edits = 1 + random() % 6;
  for (std::size_t i = 0; i < edits && !bytes.empty(); ++i) {
    const std::size_t at = random() % bytes.size();
    const std::size_t length = 1 + random() % 12;
    switch (random() % 5) {
      case 0:
        bytes[at] = static_cast<char>(random());
        break;
      case 1:
        bytes[at] = static_cast<char>(bytes[at] ^ (1 << (random() % 8)));
        break;
      case 2:
        bytes.insert(at, bytes.substr(at, length));
        break;
      case 3:
        bytes.erase(at, length);
        break;
      default:
        bytes.resize(at);
        break;
    }
  }
  return bytes;
}

template <typename T>
void expect_explained(const Result<T>& result) {
  EXPECT_TRUE(result.has_value() || !result.error().message.empty());
}

TEST(Mutation, OfConfigTextNeverCrashes) {
  const std::string text =
      "name: \"m\" max_batch_size: 8 input [ { name: \"x\" data_type: TYPE_FP32 dims: [ 3, -1 ] } "
      "] output { name: \"y\" data_type: TYPE_INT64 dims: 1 } dynamic_batching { "
      "preferred_batch_size: [ 4, 8 ] } instance_group [ { count: 1 kind: KIND_CPU } ] "
      "version_policy: { latest { num_versions: 2 } } parameters: { key: \"k\" value: { "
      "string_value: \"v\" } } optimization { graph { level: 1 } } # end\n";
  std::mt19937 random(20240611);
  int accepted = 0;
  for (int i = 0; i < 4000; ++i) {
    const Result<ModelConfig> config = parse_model_config(mutate(text, random), "config.pbtxt");
    expect_explained(config);
    accepted += config ? 1 : 0;
  }
  EXPECT_GT(accepted, 0);
  EXPECT_LT(accepted, 4000);
}

TEST(Mutation, OfAConfigInJsonGivesAConfigOrAnError) {
  const std::string json =
      R"({"name": "m", "max_batch_size": 8, "input": [{"name": "x", "data_type": "TYPE_FP32", )"
      R"("dims": [3, "-1"], "format": "FORMAT_NCHW"}], "dynamic_batching": {"preferred_batch_size": [4]}, )"
      R"("instance_group": [{"count": 1, "kind": "KIND_CPU", "gpus": []}], "version_policy": )"
      R"({"latest": {"num_versions": 2}}, "parameters": {"k": {"string_value": "v\n"}}, )"
      R"("optimization": {"graph": {"level": 1}}, "model_warmup": []})";
  std::mt19937 random(20240614);
  int accepted = 0;
  for (int i = 0; i < 8000; ++i) {
    const Result<std::string> text = config_text_of_json(mutate(json, random));
    expect_explained(text);
    if (!text) continue;
    EXPECT_TRUE(parse_model_config(*text, "config.pbtxt")) << *text;
    ++accepted;
  }
  EXPECT_GT(accepted, 0);
  EXPECT_LT(accepted, 8000);
}

TEST(Mutation, OfAnOnnxFileNeverCrashes) {
  const TestFolder folder;
  onnx::ModelProto model =
      make_onnx({{"images", {"batch", 2, 64, 64}}}, {{"out", {"batch", 10, 84}}});
  onnx::TensorProto& weights = *model.mutable_graph()->add_initializer();
  weights.set_name("w");
  weights.set_data_location(onnx::TensorProto::EXTERNAL);
  onnx::StringStringEntryProto& place = *weights.add_external_data();
  place.set_key("location");
  place.set_value("weights.bin");
  folder.write("weights.bin", std::string_view("0123456789"));
  const std::string bytes = model.SerializeAsString();
  std::mt19937 random(20240612);
  int accepted = 0;
  for (int i = 0; i < 2000; ++i) {
    const Result<OnnxModel> read = read_onnx(folder.write("model.onnx", mutate(bytes, random)));
    expect_explained(read);
    accepted += read ? 1 : 0;
  }
  EXPECT_GT(accepted, 0);
  EXPECT_LT(accepted, 2000);
}

TEST(Mutation, OfAReferenceTensorNeverCrashes) {
  const TestFolder folder;
  const Signature signature{{{"a", DataType::fp32, {4}}}, {{"y", DataType::fp32, {4}}}, 2};
  onnx::TensorProto tensor;
  tensor.set_data_type(onnx::TensorProto::FLOAT);
  tensor.add_dims(1);
  tensor.add_dims(4);
  tensor.set_raw_data(std::string(16, '\x3F'));
  folder.write("one/input_0.pb", tensor);
  const std::string plain = tensor.SerializeAsString();
  std::mt19937 random(20240613);
  int accepted = 0;
  for (int i = 0; i < 2000; ++i) {
    folder.write("one/output_0.pb", mutate(plain, random));
    const Result<Reference> reference = read_reference(folder.path(), signature);
    expect_explained(reference);
    accepted += reference ? 1 : 0;
  }
  EXPECT_GT(accepted, 0);
  EXPECT_LT(accepted, 2000);
}

}  // namespace
}  // namespace takt::repository
