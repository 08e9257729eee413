// SPDX-License-Identifier: Apache-2.0
#include "repository/repository.h"

#include "repository/test_model.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

namespace takt::repository {
namespace {

namespace fs = std::filesystem;
using ::testing::AllOf;
using ::testing::Contains;
using ::testing::ElementsAre;
using ::testing::HasSubstr;

onnx::ModelProto detector() {
  return make_onnx({{"images", {"batch", 2, 64, 64}}}, {{"out", {"batch", 10, 84}}});
}

class Repository : public ::testing::Test {
 protected:
  TestFolder root_;

  std::vector<ScannedModel> scanned() {
    Result<std::vector<ScannedModel>> models = scan(root_.path());
    EXPECT_TRUE(models.has_value());
    return models.value_or(std::vector<ScannedModel>{});
  }
  Result<ModelVersion> found(std::string_view name, std::optional<std::int64_t> version = {}) {
    return find_version(scanned(), name, version);
  }
  std::string error_of(std::string_view name, std::optional<std::int64_t> version = {}) {
    const Result<ModelVersion> result = found(name, version);
    if (result) return "no error";
    EXPECT_EQ(result.error().kind, ErrorKind::invalid_input);
    return result.error().message;
  }
};

TEST_F(Repository, AModelWithoutConfigIsCompletedFromItsFile) {
  root_.write("m/1/model.onnx", detector());
  const Result<ModelVersion> version = found("m");
  ASSERT_TRUE(version.has_value()) << version.error().message;
  EXPECT_EQ(version->version, 1);
  EXPECT_EQ(version->config.name, "m");
  EXPECT_EQ(version->config.max_batch_size, 8);
  EXPECT_EQ(version->signature.batch_max, 8);
  ASSERT_EQ(version->signature.inputs.size(), 1U);
  EXPECT_EQ(version->signature.inputs[0].shape, (Shape{2, 64, 64})) << "without the batch";
  EXPECT_EQ(version->signature.outputs[0].shape, (Shape{10, 84}));
  EXPECT_EQ(version->reference_path, root_.path() / "m/1/reference");
}

TEST_F(Repository, AListingReadsNoOnnxFile) {
  root_.write("m/1/model.onnx", "damaged");
  root_.write("m/2/model.onnx", "damaged");
  root_.write("m/config.pbtxt", "max_batch_size: 4 version_policy { latest { num_versions: 1 } }");
  root_.write("bad/config.pbtxt", "max_batch: 4");
  root_.write("bad/1/model.onnx", detector());
  const auto models = list(root_.path());
  ASSERT_TRUE(models.has_value()) << models.error().message;
  ASSERT_EQ(models->size(), 2U);
  EXPECT_THAT(models->at(0).status.error().message, HasSubstr("unknown field 'max_batch'"));
  EXPECT_TRUE(models->at(0).versions.empty());
  EXPECT_TRUE(models->at(1).status.has_value());
  EXPECT_THAT(models->at(1).versions, ElementsAre(2));
  EXPECT_THAT(models->at(1).not_served, ElementsAre(1));
  EXPECT_EQ(models->at(1).config.name, "m");
  EXPECT_EQ(list_model(root_.path(), "m")->config.max_batch_size, 4);
  EXPECT_THAT(list_model(root_.path(), "n").error().message, HasSubstr("did you mean 'm'?"));
  EXPECT_THAT(list_model(root_.path(), "../m").error().message, HasSubstr("bad model name"));
}

TEST_F(Repository, AListedConfigIsCompletedFromTheSignatureAsFromTheFile) {
  root_.write("m/1/model.onnx", detector());
  root_.write("m/config.pbtxt", "parameters { key: \"k\" value { string_value: \"v\" } }");
  const Result<ModelVersion> version = found("m");
  ASSERT_TRUE(version.has_value()) << version.error().message;
  const ModelConfig config =
      complete_config(list_model(root_.path(), "m")->config, version->signature);
  EXPECT_EQ(config.name, version->config.name);
  EXPECT_EQ(config.max_batch_size, version->config.max_batch_size);
  EXPECT_EQ(config.parameters, version->config.parameters);
  ASSERT_EQ(config.inputs.size(), 1U);
  EXPECT_EQ(config.inputs[0].name, "images");
  EXPECT_EQ(config.inputs[0].dims, version->config.inputs[0].dims);
  ASSERT_EQ(config.outputs.size(), 1U);
  EXPECT_EQ(config.outputs[0].dims, version->config.outputs[0].dims);
}

TEST_F(Repository, AFreeFirstDimensionOfAnotherNameIsNoBatch) {
  root_.write("m/1/model.onnx", make_onnx({{"x", {"height", 3}}}, {{"boxes", {"found", 4}}}));
  const Result<ModelVersion> version = found("m");
  ASSERT_TRUE(version.has_value()) << version.error().message;
  EXPECT_EQ(version->signature.batch_max, 0);
  EXPECT_EQ(version->signature.inputs[0].shape, (Shape{-1, 3})) << "every dimension is kept";
}

TEST_F(Repository, ConfigNarrowsWhatTheFileLeavesFree) {
  root_.write("m/1/model.onnx",
              make_onnx({{"x", {"n", 1, "h", "w"}}, {"s", {"n", 1}}}, {{"y", {"n", "k"}}}));
  root_.write("m/config.pbtxt",
              "max_batch_size: 4\n"
              "input { name: \"s\" data_type: TYPE_FP32 dims: [ 1 ] }\n"
              "input { name: \"x\" data_type: TYPE_FP32 dims: [ 1, 32, 48 ] }\n");
  const Result<ModelVersion> version = found("m");
  ASSERT_TRUE(version.has_value()) << version.error().message;
  EXPECT_EQ(version->signature.inputs[0].name, "x") << "the order is the file's";
  EXPECT_EQ(version->signature.inputs[0].shape, (Shape{1, 32, 48}));
  EXPECT_EQ(version->signature.outputs[0].shape, (Shape{-1}));
}

TEST_F(Repository, ListedTensorsWithoutMaxBatchSizeMeanNoBatch) {
  root_.write("m/1/model.onnx", detector());
  root_.write("m/config.pbtxt",
              "input { name: \"images\" data_type: TYPE_FP32 dims: [ 1, 2, 64, 64 ] }");
  const Result<ModelVersion> version = found("m");
  ASSERT_TRUE(version.has_value()) << version.error().message;
  EXPECT_EQ(version->signature.batch_max, 0);
  EXPECT_EQ(version->signature.inputs[0].shape, (Shape{1, 2, 64, 64}));
}

TEST_F(Repository, OneBrokenModelHidesNoOther) {
  root_.write("broken/1/model.onnx", std::string_view("not a model"));
  root_.write("badconfig/1/model.onnx", detector());
  root_.write("badconfig/config.pbtxt", std::string_view("max_batchsize: 1"));
  root_.write("good/1/model.onnx", detector());
  root_.write(".git/1/model.onnx", std::string_view("hidden folders are no models"));
  const std::vector<ScannedModel> models = scanned();
  ASSERT_EQ(models.size(), 3U);
  EXPECT_FALSE(models[0].status.has_value());
  EXPECT_TRUE(models[1].status.has_value()) << "the model is fine, its version is not";
  EXPECT_FALSE(models[1].versions[0].result.has_value());
  EXPECT_TRUE(find_version(models, "good").has_value());
  EXPECT_THAT(find_version(models, "badconfig").error().message, HasSubstr("max_batch_size"));
}

TEST_F(Repository, VersionPolicyChoosesWhatIsServed) {
  for (const char* version : {"1", "2", "10"}) {
    root_.write(fs::path("m") / version / "model.onnx", detector());
  }
  EXPECT_EQ(found("m")->version, 10) << "the highest by number, not by text";
  EXPECT_THAT(error_of("m", 2), HasSubstr("that version_policy in its config.pbtxt serves"));
  EXPECT_THAT(error_of("m", 7), AllOf(HasSubstr("no version 7"), HasSubstr("served: 10")));

  root_.write("m/config.pbtxt", std::string_view("version_policy { latest { num_versions: 2 } }"));
  EXPECT_EQ(found("m", 2)->version, 2);
  EXPECT_THAT(scanned()[0].not_served, ElementsAre(1));
  root_.write("m/config.pbtxt", std::string_view("version_policy { all {} }"));
  EXPECT_EQ(scanned()[0].versions.size(), 3U);
  root_.write("m/config.pbtxt", std::string_view("version_policy { specific { versions: 1 } }"));
  EXPECT_EQ(found("m")->version, 1);
  root_.write("m/config.pbtxt", std::string_view("version_policy { specific { versions: 5 } }"));
  EXPECT_THAT(error_of("m"), AllOf(HasSubstr("versions: 5"), HasSubstr("holds 1, 2, 10")));
}

TEST_F(Repository, FoldersThatAreNoVersionAreNoted) {
  root_.write("m/1/model.onnx", detector());
  root_.write("m/02/model.onnx", detector());
  root_.write("m/old/model.onnx", detector());
  const std::vector<ScannedModel> models = scanned();
  EXPECT_EQ(models[0].versions.size(), 1U);
  EXPECT_THAT(models[0].notes, ElementsAre(HasSubstr("'02'"), HasSubstr("'old'")));
}

TEST_F(Repository, FieldsWithoutEffectAreNoted) {
  root_.write("m/1/model.onnx", detector());
  root_.write("m/config.pbtxt", std::string_view("optimization { graph { level: 1 } }"));
  EXPECT_THAT(scanned()[0].notes, Contains(HasSubstr("optimization (line 1) has no effect")));
}

TEST_F(Repository, AModelWithoutVersionOrFileSaysWhatIsExpected) {
  fs::create_directories(root_.path() / "m");
  EXPECT_THAT(error_of("m"), HasSubstr("expected m/1/model.onnx"));
  fs::create_directories(root_.path() / "m/1");
  EXPECT_THAT(error_of("m"), HasSubstr("m/1/model.onnx: no such file"));
}

TEST_F(Repository, AnotherFileNameIsTakenFromTheConfig) {
  root_.write("m/1/net.onnx", detector());
  root_.write("m/config.pbtxt", std::string_view("default_model_filename: \"net.onnx\""));
  EXPECT_EQ(found("m")->onnx_path, root_.path() / "m/1/net.onnx");
}

TEST_F(Repository, AnUnknownModelIsAnsweredWithASuggestion) {
  root_.write("detector/1/model.onnx", detector());
  EXPECT_THAT(error_of("detecter"), HasSubstr("did you mean 'detector'?"));
  const Result<ScannedModel> one = scan_model(root_.path(), "detecter");
  ASSERT_FALSE(one.has_value());
  EXPECT_THAT(one.error().message, HasSubstr("did you mean 'detector'?"));
  EXPECT_TRUE(scan_model(root_.path(), "detector").has_value());
}

TEST_F(Repository, AMissingRootIsNamed) {
  const Result<std::vector<ScannedModel>> models = scan(root_.path() / "none");
  ASSERT_FALSE(models.has_value());
  EXPECT_THAT(models.error().message, HasSubstr("expected a model repository"));
}

TEST(ModelName, ThatCouldLeaveTheFolderIsRefused) {
  for (const std::string name :
       {"", ".", "..", "../x", "a/b", "a\\b", ".hidden", "a\nb", "a\x7F"}) {
    EXPECT_FALSE(check_model_name(name).has_value()) << name;
    EXPECT_FALSE(scan_model("/", name).has_value()) << name;
  }
  EXPECT_FALSE(check_model_name(std::string(129, 'a')).has_value());
  EXPECT_TRUE(check_model_name("pcb-detector_2.0").has_value());
  EXPECT_THAT(check_model_name("a\nb").error().message, HasSubstr("a\\x0Ab"));
}

struct Contradiction {
  const char* config;
  const char* field;
  const char* ours;
  const char* theirs;
};

class ContradictingConfig : public Repository,
                            public ::testing::WithParamInterface<Contradiction> {};

TEST_P(ContradictingConfig, NamesFileFieldAndBothSides) {
  root_.write("m/1/model.onnx", detector());
  root_.write("m/config.pbtxt", std::string_view(GetParam().config));
  EXPECT_THAT(error_of("m"), AllOf(HasSubstr("m/config.pbtxt"), HasSubstr(GetParam().field),
                                   HasSubstr(GetParam().ours), HasSubstr(GetParam().theirs)));
}

INSTANTIATE_TEST_SUITE_P(
    Repository, ContradictingConfig,
    ::testing::Values(
        Contradiction{"name: \"other\"", "name: ", "'other'", "'m'"},
        Contradiction{"max_batch_size: 4 input { name: \"image\" data_type: TYPE_FP32 dims: 1 }",
                      "input 'image'", "no input of that name", "did you mean 'images'?"},
        Contradiction{"max_batch_size: 4 output { name: \"o\" data_type: TYPE_FP32 dims: 1 }",
                      "output 'o'", "no output of that name", "'out'"},
        Contradiction{"max_batch_size: 4 "
                      "input { name: \"images\" data_type: TYPE_FP16 dims: [ 2, 64, 64 ] }",
                      "input 'images'.data_type", "TYPE_FP16", "the ONNX file says FP32"},
        Contradiction{"max_batch_size: 4 "
                      "input { name: \"images\" data_type: TYPE_FP32 dims: [ 3, 64, 64 ] }",
                      "input 'images'.dims", "[3,64,64]", "[2,64,64]"},
        Contradiction{"input { name: \"images\" data_type: TYPE_FP32 dims: [ 2, 64, 64 ] }",
                      "input 'images'.dims", "[-1,2,64,64]", "max_batch_size is 0"},
        Contradiction{"max_batch_size: 4 "
                      "output { name: \"out\" data_type: TYPE_FP32 dims: [ 10, -1 ] }",
                      "output 'out'.dims", "[10,-1]", "[10,84]"}));

TEST_F(Repository, AFixedBatchContradictsMaxBatchSize) {
  root_.write("m/1/model.onnx", make_onnx({{"x", {4, 3}}}, {{"y", {4, 2}}}));
  root_.write("m/config.pbtxt", std::string_view("max_batch_size: 4"));
  EXPECT_THAT(error_of("m"), AllOf(HasSubstr("config.pbtxt: max_batch_size: 4"),
                                   HasSubstr("input 'x'"), HasSubstr("FP32[4,3]")));
  root_.write("m/1/model.onnx", make_onnx({{"x", {1, 3}}}, {{"y", {1, 2}}}));
  EXPECT_EQ(error_of("m"), "no error") << "a backend can free a batch of one";
}

TEST_F(Repository, AnUnlistedInputIsMissing) {
  root_.write("m/1/model.onnx", make_onnx({{"x", {"n", 3}}, {"z", {"n", 1}}}, {{"y", {"n", 2}}}));
  root_.write(
      "m/config.pbtxt",
      std::string_view("max_batch_size: 2 input { name: \"x\" data_type: TYPE_FP32 dims: 3 }"));
  EXPECT_THAT(error_of("m"), AllOf(HasSubstr("'z' is missing"), HasSubstr("every input or none")));
}

TEST_F(Repository, DynamicBatchingNeedsABatchDimension) {
  root_.write("m/1/model.onnx", make_onnx({{"x", {1, 3}}}, {{"y", {1, 2}}}));
  root_.write("m/config.pbtxt", std::string_view("dynamic_batching {}"));
  EXPECT_THAT(error_of("m"), HasSubstr("dynamic_batching: needs a batch dimension"));
}

TEST_F(Repository, AnUnknownShapeMustBeStated) {
  onnx::ModelProto model = detector();
  model.mutable_graph()->mutable_output(0)->mutable_type()->mutable_tensor_type()->clear_shape();
  root_.write("m/1/model.onnx", model);
  EXPECT_THAT(error_of("m"), AllOf(HasSubstr("output 'out'.dims"), HasSubstr("state dims")));
  root_.write("m/config.pbtxt",
              std::string_view("max_batch_size: 2 "
                               "output { name: \"out\" data_type: TYPE_FP32 dims: [ 10, 84 ] }"));
  EXPECT_EQ(error_of("m"), "no error");
}

}  // namespace
}  // namespace takt::repository
