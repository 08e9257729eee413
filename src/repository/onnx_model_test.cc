// SPDX-License-Identifier: Apache-2.0
#include "repository/onnx_model.h"

#include "repository/test_model.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

namespace takt::repository {
namespace {

namespace fs = std::filesystem;
using ::testing::AllOf;
using ::testing::ElementsAre;
using ::testing::HasSubstr;

onnx::ModelProto detector() {
  return make_onnx({{"images", {"batch", 2, 640, 640}}}, {{"out", {"batch", 10, 8400}}});
}

class OnnxFile : public ::testing::Test {
 protected:
  template <typename Content>
  std::string error_of(const Content& content) {
    const Result<OnnxModel> model = read_onnx(folder_.write("model.onnx", content));
    if (model) return "no error";
    EXPECT_EQ(model.error().kind, ErrorKind::invalid_input);
    EXPECT_THAT(model.error().message, HasSubstr("model.onnx: "));
    return model.error().message;
  }

  TestFolder folder_;
};

TEST_F(OnnxFile, SaysItsSignatureOpsetAndProducer) {
  const Result<OnnxModel> model = read_onnx(folder_.write("model.onnx", detector()));
  ASSERT_TRUE(model.has_value()) << model.error().message;
  EXPECT_EQ(model->ir_version, 8);
  EXPECT_EQ(model->opset, 17);
  EXPECT_EQ(model->producer, "takt-test 1");
  ASSERT_EQ(model->inputs.size(), 1U);
  EXPECT_EQ(model->inputs[0].name, "images");
  EXPECT_EQ(model->inputs[0].type, DataType::fp32);
  EXPECT_EQ(model->inputs[0].shape, (Shape{-1, 2, 640, 640}));
  EXPECT_THAT(model->inputs[0].dim_params, ElementsAre("batch", "", "", ""));
  ASSERT_EQ(model->outputs.size(), 1U);
  EXPECT_EQ(model->outputs[0].shape, (Shape{-1, 10, 8400}));
}

TEST_F(OnnxFile, InitializersListedAsInputsNeedNotBeFed) {
  onnx::ModelProto model = make_onnx({{"x", {1}}, {"w", {1}}}, {{"y", {1}}});
  onnx::TensorProto& weights = *model.mutable_graph()->add_initializer();
  weights.set_name("w");
  weights.set_data_type(onnx::TensorProto::FLOAT);
  const Result<OnnxModel> read = read_onnx(folder_.write("model.onnx", model));
  ASSERT_TRUE(read.has_value()) << read.error().message;
  ASSERT_EQ(read->inputs.size(), 1U);
  EXPECT_EQ(read->inputs[0].name, "x");
}

TEST_F(OnnxFile, AValueWithoutShapeIsUnknownNotScalar) {
  onnx::ModelProto model = detector();
  model.mutable_graph()->mutable_output(0)->mutable_type()->mutable_tensor_type()->clear_shape();
  const Result<OnnxModel> read = read_onnx(folder_.write("model.onnx", model));
  ASSERT_TRUE(read.has_value());
  EXPECT_FALSE(read->outputs[0].shape_known);
}

TEST_F(OnnxFile, SaysWhatWasFoundInstead) {
  EXPECT_THAT(error_of(std::string_view("")), HasSubstr("empty"));
  EXPECT_THAT(error_of(std::string_view("version https://git-lfs.github.com/spec/v1\n")),
              AllOf(HasSubstr("Git LFS pointer"), HasSubstr("git lfs pull")));
  EXPECT_THAT(error_of(std::string_view("PK\x03\x04rest")), HasSubstr("zip archive"));
  EXPECT_THAT(error_of(std::string_view("<!DOCTYPE html>")), HasSubstr("a web page"));
  EXPECT_THAT(error_of(std::string_view("hello\n")), HasSubstr("not an ONNX model but text"));
  EXPECT_THAT(error_of(std::string(64, '\0')), HasSubstr("zero bytes"));
}

TEST_F(OnnxFile, ATruncatedFileIsToldFromADamagedOne) {
  const std::string whole = detector().SerializeAsString();
  EXPECT_THAT(error_of(std::string_view(whole).substr(0, whole.size() - 9)),
              AllOf(HasSubstr("truncated"), HasSubstr("the file ends after")));
  std::string damaged = whole;
  damaged[whole.size() - 3] = '\xFF';
  EXPECT_THAT(error_of(damaged), testing::Not(HasSubstr("no error")));
}

TEST_F(OnnxFile, AMessageWithoutAGraphIsNoModel) {
  onnx::ModelProto model;
  model.set_ir_version(8);
  model.set_producer_name("x\x01");
  EXPECT_THAT(error_of(model), HasSubstr("no graph"));
}

TEST_F(OnnxFile, ValuesThatAreNoTensorsOfAKnownTypeAreRefused) {
  onnx::ModelProto map = detector();
  map.mutable_graph()->mutable_output(0)->mutable_type()->mutable_map_type()->set_key_type(7);
  EXPECT_THAT(error_of(map), AllOf(HasSubstr("output[0] 'out'"), HasSubstr("zipmap=False")));
  EXPECT_THAT(error_of(make_onnx({{"x", {1}, onnx::TensorProto::FLOAT8E4M3FN}}, {{"y", {1}}})),
              AllOf(HasSubstr("input[0] 'x'"), HasSubstr("FLOAT8E4M3FN")));
  EXPECT_THAT(error_of(make_onnx({{"x", {1}}}, {})), HasSubstr("0 outputs"));
  EXPECT_THAT(error_of(make_onnx({{"x", {1}}, {"x", {1}}}, {{"y", {1}}})), HasSubstr("twice"));
}

TEST_F(OnnxFile, AboveTheLimitIsNotRead) {
  Limits limits;
  limits.onnx_bytes_max = 10;
  const Result<OnnxModel> model = read_onnx(folder_.write("model.onnx", detector()), limits);
  ASSERT_FALSE(model.has_value());
  EXPECT_THAT(model.error().message, HasSubstr("at most 10 are read"));
}

TEST_F(OnnxFile, AFolderOrAMissingFileIsNamed) {
  EXPECT_THAT(read_onnx(folder_.path()).error().message, HasSubstr("not a regular file"));
  EXPECT_THAT(read_onnx(folder_.path() / "no.onnx").error().message, HasSubstr("no such file"));
}

class ExternalData : public OnnxFile {
 protected:
  static onnx::ModelProto with_weights_at(const std::string& location,
                                          const std::string& length = "16") {
    onnx::ModelProto model = detector();
    onnx::TensorProto& weights = *model.mutable_graph()->add_initializer();
    weights.set_name("w");
    weights.set_data_location(onnx::TensorProto::EXTERNAL);
    add(weights, "location", location);
    add(weights, "offset", "0");
    add(weights, "length", length);
    return model;
  }

 private:
  static void add(onnx::TensorProto& tensor, const std::string& key, const std::string& value) {
    onnx::StringStringEntryProto& entry = *tensor.add_external_data();
    entry.set_key(key);
    entry.set_value(value);
  }
};

TEST_F(ExternalData, BesideTheModelIsAccepted) {
  folder_.write("weights.bin", std::string(16, 'x'));
  EXPECT_EQ(error_of(with_weights_at("weights.bin")), "no error");
}

TEST_F(ExternalData, MissingOrTooShortIsRefused) {
  EXPECT_THAT(error_of(with_weights_at("weights.bin")),
              AllOf(HasSubstr("weights 'w'"), HasSubstr("no such file")));
  folder_.write("weights.bin", std::string(15, 'x'));
  EXPECT_THAT(error_of(with_weights_at("weights.bin")), HasSubstr("has 15"));
  EXPECT_THAT(error_of(with_weights_at("weights.bin", "99999999999999999999999")),
              HasSubstr("not a number"));
}

TEST_F(ExternalData, OutsideTheFolderIsRefused) {
  const std::string outside = "not inside the model's folder";
  EXPECT_THAT(error_of(with_weights_at("/etc/passwd")), HasSubstr(outside));
  EXPECT_THAT(error_of(with_weights_at("../weights.bin")), HasSubstr(outside));
  EXPECT_THAT(error_of(with_weights_at("")), HasSubstr(outside));
  fs::create_symlink("/etc", folder_.path() / "link");
  EXPECT_THAT(error_of(with_weights_at("link/passwd")), HasSubstr(outside));
}

TEST_F(ExternalData, InASubgraphIsFoundToo) {
  onnx::ModelProto model = detector();
  onnx::GraphProto inner = with_weights_at("/etc/passwd").graph();
  onnx::AttributeProto& attribute = *model.mutable_graph()->mutable_node(0)->add_attribute();
  attribute.set_name("then_branch");
  *attribute.mutable_g() = inner;
  EXPECT_THAT(error_of(model), HasSubstr("not inside"));
}

}  // namespace
}  // namespace takt::repository
