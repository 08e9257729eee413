// SPDX-License-Identifier: Apache-2.0
// Everything but inferences, path by path, as the protocol's clients ask for it and read it.
#include "server/http/v2_endpoints.h"

#include "server/server_fixture.h"
#include "server/shared_object_fixture.h"

#include <nlohmann/json.hpp>

#include <set>

namespace takt::server::http {
namespace {

using Json = nlohmann::json;
using server_test::SharedObject;
using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::IsEmpty;
using ::testing::Pair;

class V2EndpointsTest : public server_test::ServerTest {
 protected:
  HttpReply ask(const std::string& method, const std::string& target,
                const std::string& body = {}) {
    auto parsed = parse_target(target);
    EXPECT_TRUE(parsed) << target;
    return endpoints_.answer({method, std::move(parsed->path), std::move(parsed->query), body});
  }
  Json get(const std::string& target) { return json_of(ask("GET", target)); }
  Json post(const std::string& target, const std::string& body = {}) {
    return json_of(ask("POST", target, body));
  }
  void expect_done(const std::string& target, const std::string& body = {}) {
    const HttpReply reply = ask("POST", target, body);
    EXPECT_EQ(reply.status, 200) << target << ": " << reply.body;
    EXPECT_EQ(reply.body, "");
  }
  std::string error(const std::string& method, const std::string& target, int status,
                    const std::string& body = {}) {
    const HttpReply reply = ask(method, target, body);
    EXPECT_EQ(reply.status, status) << method << " " << target;
    const Json json = Json::parse(reply.body, nullptr, false);
    EXPECT_EQ(json.size(), 1) << reply.body;
    return json.value("error", "");
  }

  TraceSettings trace_;
  LogSettings log_;
  V2Endpoints endpoints_{{{"takt", "1.2.3"}, catalog_, regions_, trace_, log_}};

 private:
  static Json json_of(const HttpReply& reply) {
    EXPECT_EQ(reply.status, 200) << reply.body;
    EXPECT_EQ(reply.content_type, "application/json");
    return Json::parse(reply.body, nullptr, false);
  }
};

// The server and its models ------------------------------------------------------------------------

TEST_F(V2EndpointsTest, TheServerSaysWhatItIs) {
  const Json json = get("/v2");
  EXPECT_EQ(json["name"], "takt");
  EXPECT_EQ(json["version"], "1.2.3");
  const auto extensions = json["extensions"].get<std::set<std::string>>();
  for (const char* name :
       {"classification", "model_repository", "schedule_policy", "model_configuration",
        "system_shared_memory", "binary_tensor_data", "parameters", "statistics"}) {
    EXPECT_TRUE(extensions.contains(name)) << name;
  }
}

TEST_F(V2EndpointsTest, HealthIsAStatus) {
  EXPECT_EQ(ask("GET", "/v2/health/live").status, 200);
  EXPECT_EQ(ask("GET", "/v2/health/ready").status, 200);
  EXPECT_EQ(ask("HEAD", "/v2/health/ready").status, 200);
  catalog_.ready_ = false;
  EXPECT_EQ(ask("GET", "/v2/health/live").status, 200);
  EXPECT_EQ(ask("GET", "/v2/health/ready").status, 503);
}

TEST_F(V2EndpointsTest, MetadataIsTheSignatureWithItsBatchDimension) {
  EXPECT_EQ(get("/v2/models/simple"), Json::parse(R"({"name":"simple","versions":["1","3"],
    "platform":"openvino",
    "inputs":[{"name":"INPUT0","datatype":"INT32","shape":[-1,16]},
              {"name":"INPUT1","datatype":"INT32","shape":[-1,16]}],
    "outputs":[{"name":"OUTPUT0","datatype":"INT32","shape":[-1,16]},
               {"name":"OUTPUT1","datatype":"INT32","shape":[-1,16]}]})"));
  EXPECT_EQ(get("/v2/models/identity_fp32")["inputs"],
            Json::parse(R"([{"name":"INPUT0","datatype":"FP32","shape":[-1]}])"));
  EXPECT_EQ(get("/v2/models/identity_bytes")["inputs"][0]["datatype"], "BYTES");
  EXPECT_EQ(get("/v2/models/simple/versions/1")["name"], "simple");
}

TEST_F(V2EndpointsTest, AModelThatServesIsReady) {
  EXPECT_EQ(ask("GET", "/v2/models/simple/ready").status, 200);
  EXPECT_EQ(ask("GET", "/v2/models/simple/versions/3/ready").status, 200);
  EXPECT_NE(error("GET", "/v2/models/simple/versions/2/ready", 404), "");
  EXPECT_NE(error("GET", "/v2/models/simpel/ready", 404), "");
}

TEST_F(V2EndpointsTest, TheConfigurationHasTritonsFieldNames) {
  ModelCard& card = catalog_.card("simple");
  card.config.dynamic_batching = {{2, 4}, std::chrono::microseconds(500)};
  card.config.instance_groups = {{"cpu", 2, repository::InstanceKind::cpu, {}},
                                 {"gpu", 1, repository::InstanceKind::gpu, {0, 1}}};
  card.config.parameters = {{"threads", "2"}};
  card.config.version_policy = {repository::VersionPolicy::Kind::specific, 1, {1, 3}};
  EXPECT_EQ(get("/v2/models/simple/versions/1/config"), Json::parse(R"({"name":"simple",
    "platform":"openvino","backend":"openvino",
    "version_policy":{"specific":{"versions":[1,3]}},"max_batch_size":8,
    "input":[{"name":"INPUT0","data_type":"TYPE_INT32","dims":[16]},
             {"name":"INPUT1","data_type":"TYPE_INT32","dims":[16]}],
    "output":[{"name":"OUTPUT0","data_type":"TYPE_INT32","dims":[16]},
              {"name":"OUTPUT1","data_type":"TYPE_INT32","dims":[16]}],
    "instance_group":[{"name":"cpu","kind":"KIND_CPU","count":2,"gpus":[]},
                      {"name":"gpu","kind":"KIND_GPU","count":1,"gpus":[0,1]}],
    "default_model_filename":"model.onnx",
    "dynamic_batching":{"preferred_batch_size":[2,4],"max_queue_delay_microseconds":500},
    "parameters":{"threads":{"string_value":"2"}}})"));
}

TEST_F(V2EndpointsTest, AConfigurationWithoutMuchInItIsWholeAsWell) {
  const Json config = get("/v2/models/identity_bytes/config");
  EXPECT_EQ(config["input"][0]["data_type"], "TYPE_STRING");
  EXPECT_EQ(config["version_policy"], Json::parse(R"({"latest":{"num_versions":1}})"));
  EXPECT_EQ(config["instance_group"], Json::array());
  EXPECT_EQ(config["parameters"], Json::object());
  EXPECT_FALSE(config.contains("dynamic_batching"));
  catalog_.card("identity_fp32").config.version_policy.kind = repository::VersionPolicy::Kind::all;
  EXPECT_EQ(get("/v2/models/identity_fp32/config")["version_policy"], Json::parse(R"({"all":{}})"));
}

TEST_F(V2EndpointsTest, StatisticsAreCountsAndNanoseconds) {
  engine::ModelStatistics statistics;
  statistics.last_inference = std::chrono::milliseconds(1700000000123);
  statistics.inferences = 12;
  statistics.executions = 4;
  statistics.success = {5, std::chrono::microseconds(50)};
  statistics.fail = {1, Duration(10)};
  statistics.refused = {2, Duration(20)};
  statistics.cancelled = {3, Duration(30)};
  statistics.queue = {5, Duration(7)};
  statistics.batches = {{3, {4, Duration(1)}, {4, Duration(2)}, {4, Duration(3)}}};
  const auto id = catalog_.find("simple", "1").value()->info.id;
  catalog_.statistics_[id.value] = statistics;
  const Json list = get("/v2/models/simple/versions/1/stats")["model_stats"];
  ASSERT_EQ(list.size(), 1);
  const Json& json = list[0];
  EXPECT_EQ(json["name"], "simple");
  EXPECT_EQ(json["version"], "1");
  EXPECT_EQ(json["last_inference"], 1700000000123);
  EXPECT_EQ(json["inference_count"], 12);
  EXPECT_EQ(json["execution_count"], 4);
  EXPECT_EQ(json["inference_stats"]["success"], Json::parse(R"({"count":5,"ns":50000})"));
  EXPECT_EQ(json["inference_stats"]["fail"], Json::parse(R"({"count":6,"ns":60})"));
  EXPECT_EQ(json["inference_stats"]["queue"], Json::parse(R"({"count":5,"ns":7})"));
  for (const char* part :
       {"compute_input", "compute_infer", "compute_output", "cache_hit", "cache_miss"}) {
    EXPECT_EQ(json["inference_stats"][part], Json::parse(R"({"count":0,"ns":0})")) << part;
  }
  EXPECT_EQ(json["batch_stats"], Json::parse(R"([{"batch_size":3,
    "compute_input":{"count":4,"ns":1},"compute_infer":{"count":4,"ns":2},
    "compute_output":{"count":4,"ns":3}}])"));
}

TEST_F(V2EndpointsTest, StatisticsAreOfAModelAVersionOrAll) {
  for (const ModelCardPtr& card : catalog_.serving())
    catalog_.statistics_[card->info.id.value] = {};
  EXPECT_EQ(get("/v2/models/stats")["model_stats"].size(), catalog_.serving().size());
  EXPECT_EQ(get("/v2/models/simple/stats")["model_stats"].size(), 2);
  EXPECT_EQ(get("/v2/models/simple/versions/3/stats")["model_stats"].size(), 1);
  EXPECT_NE(error("GET", "/v2/models/simpel/stats", 404), "");
  EXPECT_NE(error("GET", "/v2/models/simple/versions/2/stats", 404), "");
  catalog_.statistics_.clear();
  EXPECT_EQ(get("/v2/models/simple/stats")["model_stats"], Json::array()) << "gone meanwhile";
}

// The repository -----------------------------------------------------------------------------------

TEST_F(V2EndpointsTest, TheIndexLeavesOutWhatIsNotKnown) {
  catalog_.index_ = {
      {"simple", "3", "READY", ""}, {"broken", "", "UNAVAILABLE", "no file"}, {"new", "", "", ""}};
  EXPECT_EQ(post("/v2/repository/index"), Json::parse(R"([
    {"name":"simple","version":"3","state":"READY"},
    {"name":"broken","state":"UNAVAILABLE","reason":"no file"},{"name":"new"}])"));
  EXPECT_FALSE(catalog_.asked_ready_only_);
  post("/v2/repository/index", R"({"ready":true})");
  EXPECT_TRUE(catalog_.asked_ready_only_);
  post("/v2/repository/index", R"({"ready":false})");
  EXPECT_FALSE(catalog_.asked_ready_only_);
  post("/v2/repository/index", "{}");
  EXPECT_FALSE(catalog_.asked_ready_only_);
  for (const char* wrong : {"1", "null", "\"true\"", "{}"}) {
    const std::string body = std::string(R"({"ready":)") + wrong + "}";
    EXPECT_EQ(error("POST", "/v2/repository/index", 400, body), "'ready' must be true or false");
  }
}

TEST_F(V2EndpointsTest, TheIndexIsJsonWhateverAReasonHolds) {
  catalog_.index_ = {{"a", "1", "UNAVAILABLE", "file \xff\" is damaged"}};
  EXPECT_EQ(post("/v2/repository/index")[0]["reason"], "file \ufffd\" is damaged");
}

TEST_F(V2EndpointsTest, AModelIsLoadedAndUnloaded) {
  expect_done("/v2/repository/models/simple/load");
  EXPECT_EQ(catalog_.loaded_, "simple");
  EXPECT_EQ(catalog_.overrides_.config_json, "");
  EXPECT_THAT(catalog_.overrides_.files, IsEmpty());
  expect_done("/v2/repository/models/a%2Fb/unload",
              R"({"parameters":{"unload_dependents":false}})");
  EXPECT_EQ(catalog_.unloaded_, "a/b");
}

TEST_F(V2EndpointsTest, ALoadMayBringItsConfigurationAndFiles) {
  expect_done("/v2/repository/models/simple/load",
              R"({"parameters":{"config":"{\"max_batch_size\":2}","file:1/model.onnx":"Zm8=",
                  "file:2/model.onnx":""}})");
  EXPECT_EQ(catalog_.overrides_.config_json, R"({"max_batch_size":2})");
  EXPECT_THAT(catalog_.overrides_.files,
              ElementsAre(Pair("file:1/model.onnx", "fo"), Pair("file:2/model.onnx", "")));
}

TEST_F(V2EndpointsTest, DamagedLoadsAreRefusedBeforeAnythingIsLoaded) {
  const std::string target = "/v2/repository/models/simple/load";
  EXPECT_THAT(error("POST", target, 400, "{"),
              HasSubstr("failed to parse the request JSON buffer"));
  EXPECT_THAT(error("POST", target, 400, "[]"), HasSubstr("expected an object"));
  EXPECT_THAT(error("POST", target, 400, R"({"parameters":[]})"),
              HasSubstr("'parameters' must be an object"));
  EXPECT_THAT(error("POST", target, 400, R"({"parameters":{"config":{}}})"),
              HasSubstr("parameter 'config' must be a string"));
  EXPECT_THAT(error("POST", target, 400, R"({"parameters":{"file:1/model.onnx":"Zm8"}})"),
              HasSubstr("'file:1/model.onnx' is not base64"));
  EXPECT_THAT(error("POST", target, 400, R"({"parameters":{"conf":"x"}})"),
              HasSubstr("unrecognized load parameter 'conf'"));
  EXPECT_EQ(catalog_.loaded_, "");
}

TEST_F(V2EndpointsTest, ParametersOfAnUnloadAreAnObject) {
  const std::string target = "/v2/repository/models/simple/unload";
  EXPECT_EQ(error("POST", target, 400, R"({"parameters":[]})"), "'parameters' must be an object");
  expect_done(target, R"({"parameters":{"unload_dependents":true}})");
}

TEST_F(V2EndpointsTest, ErrorsOfTheCatalogComeWithTheirStatus) {
  catalog_.control_ = refuse(ApiCode::unavailable, "control is off");
  EXPECT_EQ(error("POST", "/v2/repository/models/simple/load", 503), "control is off");
  EXPECT_EQ(error("POST", "/v2/repository/models/simple/unload", 503), "control is off");
}

TEST_F(V2EndpointsTest, OnlyTheRepositoryIsSlow) {
  const auto is_slow = [this](const std::string& target) {
    return endpoints_.is_slow({"POST", parse_target(target)->path, {}, {}});
  };
  EXPECT_TRUE(is_slow("/v2/repository/index"));
  EXPECT_TRUE(is_slow("/v2/repository/models/simple/load"));
  EXPECT_FALSE(is_slow("/v2/models/repository/stats"));
  EXPECT_FALSE(is_slow("/v2/health/ready"));
  EXPECT_FALSE(is_slow("/v2"));
  EXPECT_FALSE(is_slow("/"));
}

// Settings -----------------------------------------------------------------------------------------

TEST_F(V2EndpointsTest, ANullOrAnEmptyListTakesATraceSettingBack) {
  const std::string target = "/v2/trace/setting";
  for (const char* nothing : {"null", "[]"}) {
    EXPECT_EQ(post(target, R"({"trace_rate":"7"})")["trace_rate"], "7");
    EXPECT_EQ(post(target, std::string(R"({"trace_rate":)") + nothing + "}")["trace_rate"], "1000");
  }
  EXPECT_THAT(error("POST", target, 400, R"({"trace_rate":[null]})"),
              HasSubstr("must be a string, or a list of them"));
}

TEST_F(V2EndpointsTest, AWholeNumberMayBeWrittenWithAFraction) {
  const Json log = post("/v2/logging", R"({"log_verbose_level":2.0})");
  EXPECT_EQ(log["log_verbose_level"].dump(), "2");
  const Json trace = post("/v2/trace/setting", R"({"trace_rate":1e3,"trace_count":[-1.0]})");
  EXPECT_EQ(trace["trace_rate"], "1000");
  EXPECT_EQ(trace["trace_count"], "-1");
  for (const char* wrong : {"2.5", "-1.0", "1e300"}) {
    const std::string number = wrong;
    error("POST", "/v2/logging", 400, R"({"log_verbose_level":)" + number + "}");
    error("POST", "/v2/trace/setting", 400, R"({"trace_rate":)" + number + "}");
  }
}

// Shared memory ------------------------------------------------------------------------------------

TEST_F(V2EndpointsTest, SystemMemoryIsRegisteredListedAndUnregistered) {
  const SharedObject object("takt-test-endpoints", 4096);
  const std::string body = R"({"key":")" + object.key() + R"(","offset":64,"byte_size":128})";
  EXPECT_EQ(get("/v2/systemsharedmemory/status"), Json::array());
  expect_done("/v2/systemsharedmemory/region/in0/register", body);
  const Json one =
      Json::array({{{"name", "in0"}, {"key", object.key()}, {"offset", 64}, {"byte_size", 128}}});
  EXPECT_EQ(get("/v2/systemsharedmemory/status"), one);
  EXPECT_EQ(get("/v2/systemsharedmemory/region/in0/status"), one);
  EXPECT_THAT(error("POST", "/v2/systemsharedmemory/region/in0/register", 409, body),
              HasSubstr("already in manager"));
  expect_done("/v2/systemsharedmemory/region/in0/unregister");
  EXPECT_THAT(error("GET", "/v2/systemsharedmemory/region/in0/status", 404),
              HasSubstr("Unable to find system shared memory region: 'in0'"));
  expect_done("/v2/systemsharedmemory/region/a/register", body);
  expect_done("/v2/systemsharedmemory/region/b/register", body);
  expect_done("/v2/systemsharedmemory/unregister");
  EXPECT_EQ(get("/v2/systemsharedmemory/status"), Json::array());
}

TEST_F(V2EndpointsTest, ARegionNeedsAKeyAndNumbers) {
  const std::string target = "/v2/systemsharedmemory/region/in0/register";
  EXPECT_THAT(error("POST", target, 400), HasSubstr("'key' must be a string"));
  EXPECT_THAT(error("POST", target, 400, "{]"), HasSubstr("failed to parse"));
  EXPECT_THAT(error("POST", target, 400, R"({"key":7})"), HasSubstr("'key' must be a string"));
  EXPECT_THAT(error("POST", target, 400, R"({"key":"/x","offset":-1,"byte_size":1})"),
              HasSubstr("'offset' must be a whole number of 0 or more"));
  EXPECT_THAT(error("POST", target, 400, R"({"key":"/x","byte_size":1.5})"),
              HasSubstr("'byte_size' must be a whole number of 0 or more"));
  EXPECT_THAT(error("POST", target, 400, R"({"key":"/x","byte_size":18446744073709551616})"),
              HasSubstr("'byte_size' must be a whole number of 0 or more"));
  EXPECT_THAT(error("POST", target, 400, R"({"key":"/../x","byte_size":1})"),
              HasSubstr("a key such as /input_data"));
  EXPECT_EQ(error("POST", "/v2/systemsharedmemory/register", 404),
            "no such path of the Open Inference Protocol (v2)");
}

TEST_F(V2EndpointsTest, CudaMemoryIsAnsweredByAServerWithoutAGpu) {
  EXPECT_EQ(get("/v2/cudasharedmemory/status"), Json::array());
  EXPECT_THAT(error("GET", "/v2/cudasharedmemory/region/g/status", 404),
              HasSubstr("Unable to find cuda shared memory region: 'g'"));
  EXPECT_THAT(error("POST", "/v2/cudasharedmemory/region/g/register", 400,
                    R"({"raw_handle":{"b64":""},"device_id":0,"byte_size":64})"),
              HasSubstr("this server has no GPU"));
  expect_done("/v2/cudasharedmemory/region/g/unregister");
  expect_done("/v2/cudasharedmemory/unregister");
}

// Paths and methods --------------------------------------------------------------------------------

TEST_F(V2EndpointsTest, OtherPathsAreNotFound) {
  for (const char* target :
       {"/", "/v1", "/v2x", "/v2/health", "/v2/health/other", "/v2/health/live/x", "/v2/models",
        "/v2/models/simple/versions", "/v2/models/simple/other", "/v2/models/simple/ready/x",
        "/v2/models/simple/versions/1/stats/x", "/v2/systemsharedmemory",
        "/v2/systemsharedmemory/region/a", "/v2/cudasharedmemory",
        "/v2/cudasharedmemory/region/a/b/c", "/v2/other"}) {
    EXPECT_EQ(error("GET", target, 404), "no such path of the Open Inference Protocol (v2)")
        << target;
  }
  for (const char* target :
       {"/v2/repository", "/v2/repository/models", "/v2/repository/models/a",
        "/v2/repository/models/a/other", "/v2/repository/index/x", "/v2/systemsharedmemory/other",
        "/v2/cudasharedmemory/register", "/v2/models/infer", "/v2/models/simple/versions/infer"}) {
    EXPECT_EQ(error("POST", target, 404), "no such path of the Open Inference Protocol (v2)")
        << target;
  }
}

TEST_F(V2EndpointsTest, TheProtocolIsDescribed) {
  const Json description = get("/v2/openapi.json");
  EXPECT_EQ(description["openapi"], "3.1.0");
  EXPECT_TRUE(description["paths"].contains("/v2/models/{model}/infer"));
  EXPECT_TRUE(description["paths"].contains("/v2/openapi.json"));
}

TEST_F(V2EndpointsTest, OtherMethodsAreNotAllowed) {
  const auto allowed = [this](const std::string& method, const std::string& target) {
    const HttpReply reply = ask(method, target);
    EXPECT_EQ(reply.status, 405) << method << " " << target;
    return reply.headers.empty() ? "" : reply.headers[0].first + ": " + reply.headers[0].second;
  };
  for (const char* target : {"/v2", "/v2/health/live", "/v2/models/simple", "/v2/models/stats",
                             "/v2/models/simple/config", "/v2/systemsharedmemory/status",
                             "/v2/cudasharedmemory/status", "/v2/openapi.json"}) {
    EXPECT_EQ(allowed("POST", target), "Allow: GET") << target;
    EXPECT_EQ(allowed("DELETE", target), "Allow: GET") << target;
  }
  for (const char* target :
       {"/v2/models/simple/infer", "/v2/models/simple/versions/1/infer", "/v2/models/none/infer",
        "/v2/models/simple/versions/0/infer", "/v2/repository/index",
        "/v2/repository/models/a/load", "/v2/systemsharedmemory/unregister",
        "/v2/cudasharedmemory/unregister"}) {
    EXPECT_EQ(allowed("GET", target), "Allow: POST") << target;
    EXPECT_EQ(allowed("PUT", target), "Allow: POST") << target;
  }
}

TEST_F(V2EndpointsTest, OnlyALoadHasALargeBody) {
  const std::string large = R"({"parameters":{"config":")" + std::string(1'000'000, 'x') + "\"}}";
  expect_done("/v2/repository/models/simple/load", large);
  for (const char* target : {"/v2/repository/index", "/v2/repository/models/simple/unload",
                             "/v2/systemsharedmemory/region/in0/register"}) {
    EXPECT_THAT(error("POST", target, 413, large), HasSubstr("up to 65536 bytes")) << target;
  }
}

TEST_F(V2EndpointsTest, NestedBodiesTakeNoStack) {
  const std::string nested = std::string(2'000'000, '[') + std::string(2'000'000, ']');
  EXPECT_THAT(error("POST", "/v2/repository/models/simple/load", 400, nested),
              HasSubstr("expected an object"));
  EXPECT_THAT(error("POST", "/v2/repository/models/simple/load", 400, std::string(2'000'000, '[')),
              HasSubstr("expected an object"));
}

}  // namespace
}  // namespace takt::server::http
