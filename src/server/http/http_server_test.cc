// SPDX-License-Identifier: Apache-2.0
// What well-behaved clients do: inferences in every form that a body can have, one after the other.
#include "server/http/http_server.h"

#include "server/http/compression.h"
#include "server/http/http_fixture.h"
#include "server/shared_object_fixture.h"

namespace takt::server::http {
namespace {

using namespace server_test;
using Json = nlohmann::json;
using ::testing::ElementsAre;
using ::testing::HasSubstr;

const std::vector<float> kValues{1.5, -2, 3.25};

std::string packed(std::string_view body, Coding coding) {
  const std::array parts{body};
  return compress(parts, coding);
}
std::string unpacked(const HttpAnswer& answer) {
  const auto coding = parse_coding(answer.header("content-encoding"));
  return *decompress(answer.body, coding.value(), std::size_t{1} << 24);
}

// In chunks of so many bytes, with what may stand around them.
std::string chunked(std::string_view body, std::size_t chunk) {
  std::string text;
  for (std::size_t at = 0; at < body.size(); at += chunk) {
    const std::string_view part = body.substr(at, chunk);
    text += fmt::format("{:X};name=value\r\n{}\r\n", part.size(), part);
  }
  return text + "0\r\nTrailer: 1\r\n\r\n";
}
std::string infer_chunked(const std::string& model, std::string_view body, std::size_t chunk,
                          const std::string& headers = {}) {
  return infer(model, {}, "Transfer-Encoding: chunked\r\n" + headers) + chunked(body, chunk);
}

// The binary output of "identity_fp32", and that the JSON before it says so.
std::vector<float> binary_floats_of(const HttpAnswer& answer, const std::string& body) {
  EXPECT_EQ(answer.status, 200) << answer.body;
  EXPECT_EQ(answer.header("content-type"), "application/octet-stream");
  const std::size_t json_bytes = std::stoul(answer.header("inference-header-content-length"));
  const Json json = Json::parse(body.substr(0, json_bytes));
  const std::vector<std::byte> binary = bytes_of(
      std::vector<char>(body.begin() + static_cast<std::ptrdiff_t>(json_bytes), body.end()));
  EXPECT_EQ(json["outputs"][0]["parameters"]["binary_data_size"], binary.size());
  return values_of<float>(binary);
}
std::vector<float> binary_floats_of(const HttpAnswer& answer) {
  return binary_floats_of(answer, answer.body);
}

// Inferences ---------------------------------------------------------------------------------------

TEST_F(HttpServerTest, AnInferenceInJsonIsAnsweredInJson) {
  serve();
  const HttpAnswer answer = ask(infer("identity_fp32", floats_json(kValues, "part 7")));
  EXPECT_EQ(answer.status, 200);
  EXPECT_EQ(answer.header("content-type"), "application/json");
  EXPECT_EQ(answer.json(), Json::parse(R"({"id":"part 7","model_name":"identity_fp32",
    "model_version":"1","outputs":[{"name":"OUTPUT0","datatype":"FP32","shape":[3],
    "data":[1.5,-2,3.25]}]})"));
}

TEST_F(HttpServerTest, EveryDatatypeGoesThereAndBack) {
  serve();
  const Signature signature = catalog_.card("every_type").info.signature;
  Json inputs = Json::array();
  std::string binary;
  for (const TensorSpec& spec : signature.inputs) {
    Json input{{"name", spec.name}, {"datatype", spec.name}, {"shape", {2}}};
    if (spec.type == DataType::fp16 || spec.type == DataType::bf16) {
      input["parameters"] = {{"binary_data_size", 4}};
      binary += text_of(std::vector<std::uint16_t>{0x3c00, 0x4000});
    } else if (spec.type == DataType::bytes) {
      input["data"] = {"a\"b", "\u00e9"};
    } else if (spec.type == DataType::boolean) {
      input["data"] = {true, false};
    } else {
      input["data"] = {1, 2};
    }
    inputs.push_back(input);
  }
  const Json asked{{"inputs", inputs},
                   {"outputs",
                    {{{"name", "FP16"}, {"parameters", {{"binary_data", true}}}},
                     {{"name", "BOOL"}},
                     {{"name", "UINT64"}},
                     {{"name", "INT8"}},
                     {{"name", "FP64"}},
                     {{"name", "BYTES"}}}}};
  const HttpAnswer answer = ask(infer_binary("every_type", asked.dump(), binary));
  ASSERT_EQ(answer.status, 200) << answer.body;
  const std::size_t json_bytes = std::stoul(answer.header("inference-header-content-length"));
  const Json json = Json::parse(answer.body.substr(0, json_bytes));
  EXPECT_EQ(answer.body.substr(json_bytes), binary.substr(0, 4));
  EXPECT_EQ(json["outputs"][1]["data"], Json::parse("[true,false]"));
  EXPECT_EQ(json["outputs"][2]["data"], Json::parse("[1,2]"));
  EXPECT_EQ(json["outputs"][5]["data"], Json::parse(R"(["a\"b","é"])"));
}

TEST_F(HttpServerTest, AVersionStandsInThePath) {
  serve();
  const Json row = Json::array({0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15});
  const Json asked{
      {"inputs",
       {{{"name", "INPUT0"}, {"datatype", "INT32"}, {"shape", {1, 16}}, {"data", row}},
        {{"name", "INPUT1"}, {"datatype", "INT32"}, {"shape", {1, 16}}, {"data", {row}}}}}};
  const HttpAnswer answer =
      ask(request("POST", "/v2/models/simple/versions/1/infer", asked.dump()));
  EXPECT_EQ(answer.status, 200) << answer.body;
  EXPECT_EQ(answer.json()["model_version"], "1");
  EXPECT_EQ(answer.json()["outputs"][0]["data"][15], 30);
  EXPECT_EQ(answer.json()["outputs"][1]["data"][15], 0);
  EXPECT_EQ(ask(request("POST", "/v2/models/simple/versions/2/infer", asked.dump())).status, 404);
}

TEST_F(HttpServerTest, BinaryDataGoesStraightIntoAlignedSlots) {
  serve();
  const HttpAnswer answer =
      ask(infer_binary("identity_fp32", floats_binary_json(3), text_of(kValues)));
  EXPECT_EQ(binary_floats_of(answer), kValues);
  EXPECT_TRUE(client_->last().aligned);
}

TEST_F(HttpServerTest, LargeBodiesComeAndGoWhole) {
  serve();
  std::vector<float> values(250'000);
  for (std::size_t i = 0; i < values.size(); ++i) values[i] = static_cast<float>(i);
  HttpClient client = connect();
  client.send(infer_binary("identity_fp32", floats_binary_json(values.size()), text_of(values)));
  EXPECT_EQ(binary_floats_of(client.read()), values);
  client.send(infer("identity_fp32", floats_json(values)));
  EXPECT_EQ(floats_of(client.read()), values);
}

TEST_F(HttpServerTest, SharedMemoryReplacesTheBody) {
  serve();
  const SharedObject object("takt-test-http", 4096);
  object.write(0, bytes_of(kValues));
  HttpClient client = connect();
  EXPECT_EQ(client
                .ask(request("POST", "/v2/systemsharedmemory/region/r/register",
                             R"({"key":")" + object.key() + R"(","offset":0,"byte_size":4096})"))
                .status,
            200);
  const HttpAnswer answer =
      client.ask(infer("identity_fp32",
                       R"({"inputs":[{"name":"INPUT0","datatype":"FP32","shape":[3],"parameters":
         {"shared_memory_region":"r","shared_memory_byte_size":12}}],
         "outputs":[{"name":"OUTPUT0","parameters":{"shared_memory_region":"r",
         "shared_memory_offset":64,"shared_memory_byte_size":64}}]})"));
  EXPECT_EQ(answer.status, 200) << answer.body;
  EXPECT_EQ(answer.json()["outputs"][0],
            Json::parse(R"({"name":"OUTPUT0","datatype":"FP32","shape":[3]})"));
  EXPECT_EQ(values_of<float>(object.read(64, 12)), kValues);
}

TEST_F(HttpServerTest, ARawBodyIsTheOnlyInput) {
  serve();
  const auto raw = [this](const std::string& model, std::string_view body) {
    return ask(infer(model, body, "Inference-Header-Content-Length: 0\r\n"));
  };
  EXPECT_EQ(binary_floats_of(raw("identity_fp32", text_of(kValues))), kValues);
  EXPECT_THAT(client_->last().shapes, ElementsAre(Shape{3}));
  EXPECT_TRUE(client_->last().aligned);
  EXPECT_EQ(binary_floats_of(raw("scores", text_of(kValues))), kValues);
  EXPECT_THAT(client_->last().shapes, ElementsAre(Shape{1, 3})) << "one row";
  const HttpAnswer text = raw("identity_bytes", "board 7");
  EXPECT_EQ(text.status, 200) << text.body;
  EXPECT_THAT(text.body, HasSubstr(std::string("\7\0\0\0board 7", 11)));
  EXPECT_THAT(raw("simple", "1234").error(), HasSubstr("has 2 inputs"));
  EXPECT_THAT(raw("identity_fp32", "12345").error(), HasSubstr("byte size mismatch"));
}

TEST_F(HttpServerTest, ARawBodyMayBeChunkedOrPacked) {
  serve();
  const std::string zero = "Inference-Header-Content-Length: 0\r\n";
  const std::string body = text_of(kValues);
  EXPECT_EQ(binary_floats_of(ask(infer_chunked("identity_fp32", body, 5, zero))), kValues);
  EXPECT_EQ(binary_floats_of(ask(infer("identity_fp32", packed(body, Coding::gzip),
                                       zero + "Content-Encoding: gzip\r\n"))),
            kValues);
}

// Connections --------------------------------------------------------------------------------------

TEST_F(HttpServerTest, AConnectionServesOneRequestAfterTheOther) {
  serve();
  HttpClient client = connect();
  for (int i = 0; i < 20; ++i) {
    const HttpAnswer answer = client.ask(infer("identity_fp32", floats_json(kValues)));
    EXPECT_EQ(floats_of(answer), kValues);
    EXPECT_EQ(answer.header("connection"), "");
  }
  EXPECT_EQ(server_->stats().requests, 20);
  EXPECT_EQ(server_->stats().connections, 1);
  EXPECT_EQ(server_->stats().connections_taken, 1);
}

TEST_F(HttpServerTest, AConnectionEndsWhereTheClientAsksForIt) {
  serve();
  HttpClient client = connect();
  const HttpAnswer answer =
      client.ask(infer("identity_fp32", floats_json(kValues), "Connection: close\r\n"));
  EXPECT_EQ(floats_of(answer), kValues);
  EXPECT_EQ(answer.header("connection"), "close");
  EXPECT_TRUE(client.ended());
}

TEST_F(HttpServerTest, PipelinedRequestsAreAnsweredInTheirOrder) {
  serve();
  for (const FakeClient::Mode mode : {FakeClient::Mode::at_once, FakeClient::Mode::on_its_thread}) {
    client_->set_mode(mode);
    HttpClient client = connect();
    std::string all;
    for (int i = 0; i < 50; ++i) {
      all += i % 5 == 4 ? request("GET", "/v2/health/live")
                        : infer("identity_fp32", floats_json({static_cast<float>(i)}));
    }
    client.send(all);
    for (int i = 0; i < 50; ++i) {
      const HttpAnswer answer = client.read();
      if (i % 5 == 4) {
        EXPECT_EQ(answer.body, "");
      } else {
        EXPECT_THAT(floats_of(answer), ElementsAre(static_cast<float>(i)));
      }
    }
  }
}

TEST_F(HttpServerTest, APipelinedRequestWaitsForTheAnswerBeforeIt) {
  serve();
  client_->set_mode(FakeClient::Mode::held);
  HttpClient client = connect();
  client.send(infer("identity_fp32", floats_json({1})) + infer("identity_fp32", floats_json({2})) +
              request("GET", "/v2/health/live"));
  for (const float expected : {1.0F, 2.0F}) {
    ASSERT_TRUE(wait_until([this] { return client_->held() == 1; }));
    EXPECT_EQ(client_->seen().size(), static_cast<std::size_t>(expected));
    client_->release();
    EXPECT_THAT(floats_of(client.read()), ElementsAre(expected));
  }
  EXPECT_EQ(client.read().status, 200);
}

TEST_F(HttpServerTest, ConnectionsDontWaitForEachOther) {
  serve({.threads = 2});
  client_->set_mode(FakeClient::Mode::held);
  std::vector<HttpClient> clients;
  for (int i = 0; i < 6; ++i) {
    clients.push_back(connect());
    clients.back().send(infer("identity_fp32", floats_json({static_cast<float>(i)})));
    ASSERT_TRUE(wait_until([&] { return client_->held() == clients.size(); }));
  }
  for (int i = 5; i >= 0; --i) {
    client_->release(static_cast<std::size_t>(i));
    EXPECT_THAT(floats_of(clients[static_cast<std::size_t>(i)].read()),
                ElementsAre(static_cast<float>(i)));
  }
}

TEST_F(HttpServerTest, RequestsMayComeInAnyPieces) {
  serve();
  const std::vector<std::string> requests{
      infer("identity_fp32", floats_json(kValues)),
      infer_chunked("identity_fp32", floats_json(kValues), 7),
      infer("identity_fp32", packed(floats_json(kValues), Coding::gzip),
            "Content-Encoding: gzip\r\n")};
  for (const std::size_t piece : {1, 2, 3, 7, 64}) {
    HttpClient client = connect();
    for (const std::string& text : requests) {
      client.send_in_pieces(text, piece);
      EXPECT_EQ(floats_of(client.read()), kValues);
    }
    client.send_in_pieces(infer_binary("identity_fp32", floats_binary_json(3), text_of(kValues)),
                          piece);
    EXPECT_EQ(binary_floats_of(client.read()), kValues);
  }
}

TEST_F(HttpServerTest, ChunkedBodiesAreRead) {
  serve();
  HttpClient client = connect();
  const std::string json = floats_binary_json(3);
  const std::string length = fmt::format("Inference-Header-Content-Length: {}\r\n", json.size());
  for (const std::size_t chunk : {1, 5, 1000}) {
    EXPECT_EQ(floats_of(client.ask(infer_chunked("identity_fp32", floats_json(kValues), chunk))),
              kValues);
    EXPECT_EQ(binary_floats_of(client.ask(
                  infer_chunked("identity_fp32", json + text_of(kValues), chunk, length))),
              kValues);
  }
}

TEST_F(HttpServerTest, PackedBodiesAreReadAndSent) {
  serve();
  const std::vector<float> values(2000, 7);
  HttpClient client = connect();
  for (const Coding coding : {Coding::gzip, Coding::deflate}) {
    const std::string name(to_string(coding));
    const std::string headers =
        "Content-Encoding: " + name + "\r\nAccept-Encoding: br, " + name + "\r\n";
    HttpAnswer answer =
        client.ask(infer("identity_fp32", packed(floats_json(values), coding), headers));
    EXPECT_EQ(answer.header("content-encoding"), name);
    answer.body = unpacked(answer);
    EXPECT_EQ(floats_of(answer), values);

    const std::string json = floats_binary_json(values.size());
    answer = client.ask(
        infer("identity_fp32", packed(json + text_of(values), coding),
              headers + fmt::format("Inference-Header-Content-Length: {}\r\n", json.size())));
    EXPECT_EQ(answer.header("content-encoding"), name);
    EXPECT_EQ(binary_floats_of(answer, unpacked(answer)), values);

    EXPECT_EQ(
        floats_of(client.ask(infer_chunked("identity_fp32", packed(floats_json(values), coding), 11,
                                           "Content-Encoding: " + name + "\r\n"))),
        values);
  }
}

TEST_F(HttpServerTest, SmallAnswersAreNotPacked) {
  serve();
  const HttpAnswer answer =
      ask(infer("identity_fp32", floats_json(kValues), "Accept-Encoding: gzip\r\n"));
  EXPECT_EQ(answer.header("content-encoding"), "");
  EXPECT_EQ(floats_of(answer), kValues);
}

TEST_F(HttpServerTest, AClientMayAskWhetherToSendItsBody) {
  serve();
  HttpClient client = connect();
  const std::string text = infer("identity_fp32", floats_json(kValues), "Expect: 100-Continue\r\n");
  const std::size_t body = text.find("\r\n\r\n") + 4;
  client.send(text.substr(0, body));
  EXPECT_EQ(client.read().status, 100);
  client.send(text.substr(body));
  EXPECT_EQ(floats_of(client.read()), kValues);
  client.send(text);
  EXPECT_EQ(client.read().status, 100) << "also to one that didn't wait";
  EXPECT_EQ(floats_of(client.read()), kValues);
}

TEST_F(HttpServerTest, ABodyThatIsRefusedIsNotAskedFor) {
  serve({.body_bytes_max = 1000});
  const auto refused = [this](const std::string& target, const std::string& headers) {
    HttpClient client = connect();
    client.send(request("POST", target, {}, "Expect: 100-continue\r\n" + headers));
    const HttpAnswer answer = client.read();
    EXPECT_EQ(answer.header("connection"), "close") << "whether the body comes isn't known";
    EXPECT_TRUE(client.ended());
    return answer.status;
  };
  EXPECT_EQ(refused("/v2/models/identity_fp32/infer", "Content-Length: 1001\r\n"), 413);
  EXPECT_EQ(refused("/v2/repository/index", "Content-Length: 1001\r\n"), 413);
  EXPECT_EQ(refused("/%zz", "Content-Length: 100\r\n"), 400);
  EXPECT_EQ(
      refused("/v2/models/identity_fp32/infer", "Content-Length: 100\r\nContent-Encoding: br\r\n"),
      400);
  EXPECT_EQ(refused("/v2/models/identity_fp32/infer",
                    "Content-Length: 100\r\nInference-Header-Content-Length: 101\r\n"),
            400);
}

TEST_F(HttpServerTest, AnOldClientIsAnsweredAndLeft) {
  serve();
  const std::string body = floats_json(kValues);
  const auto old = [&](const std::string& headers) {
    return fmt::format(
        "POST /v2/models/identity_fp32/infer HTTP/1.0\r\nContent-Length: {}\r\n{}"
        "\r\n{}",
        body.size(), headers, body);
  };
  HttpClient client = connect();
  HttpAnswer answer = client.ask(old(""));
  EXPECT_EQ(floats_of(answer), kValues);
  EXPECT_EQ(answer.header("connection"), "close");
  EXPECT_TRUE(client.ended());

  HttpClient staying = connect();
  for (int i = 0; i < 3; ++i) {
    answer = staying.ask(old("Connection: Keep-Alive\r\nExpect: 100-continue\r\n"));
    EXPECT_EQ(floats_of(answer), kValues) << "1.0 has no 100";
    EXPECT_EQ(answer.header("connection"), "keep-alive") << "it can't know otherwise";
  }
}

TEST_F(HttpServerTest, AHeadHasTheHeadersOfAGetAndNoBody) {
  serve();
  HttpClient client = connect();
  const HttpAnswer got = client.ask(request("GET", "/v2"));
  client.send(request("HEAD", "/v2"));
  const HttpAnswer head = client.read(true);
  EXPECT_EQ(head.status, 200);
  EXPECT_EQ(head.header("content-length"), got.header("content-length"));
  EXPECT_EQ(head.header("content-type"), "application/json");
  client.send(request("HEAD", "/test/5000", {}, "Accept-Encoding: gzip\r\n"));
  EXPECT_EQ(client.read(true).status, 200);
  client.send(request("HEAD", "/v2/nowhere"));
  EXPECT_EQ(client.read(true).status, 404);
  EXPECT_EQ(client.ask(request("GET", "/v2")).body, got.body) << "nothing was left between them";
}

TEST_F(HttpServerTest, OtherPathsAreAnsweredByTheEndpoints) {
  serve();
  HttpClient client = connect();
  EXPECT_EQ(client.ask(request("GET", "/v2")).json()["name"], "takt");
  EXPECT_EQ(client.ask(request("GET", "/v2/models/simple")).json()["name"], "simple");
  EXPECT_EQ(client.ask(request("POST", "/v2/repository/index")).json(), Json::array());
  EXPECT_EQ(client.ask(request("GET", "/nowhere")).status, 404);
  const HttpAnswer wrong = client.ask(request("GET", "/v2/models/simple/infer"));
  EXPECT_EQ(wrong.status, 405);
  EXPECT_EQ(wrong.header("allow"), "POST");
  EXPECT_EQ(client.ask(request("POST", "/v2/models/simple/versions/infer", "{}")).status, 404);
  EXPECT_EQ(client.ask(request("POST", "/v2/models/simple", "body that nobody reads")).status, 405);
  EXPECT_EQ(client.ask(request("GET", "/v2/health/ready")).status, 200);
}

TEST_F(HttpServerTest, AnErrorLeavesTheConnectionUsable) {
  serve();
  HttpClient client = connect();
  const auto error = [&](const std::string& text, int status) {
    const HttpAnswer answer = client.ask(text);
    EXPECT_EQ(answer.status, status) << answer.body;
    EXPECT_EQ(answer.header("connection"), "");
    return answer.error();
  };
  EXPECT_THAT(error(infer("simpel", floats_json(kValues)), 404), HasSubstr("unknown model"));
  EXPECT_THAT(error(infer("identity_fp32", "{\"inputs\":[1}"), 400), HasSubstr("inputs"));
  EXPECT_THAT(error(infer("identity_fp32", ""), 400), HasSubstr("failed to parse"));
  EXPECT_THAT(error(infer("identity_fp32", "x", "Content-Encoding: br\r\n"), 400),
              HasSubstr("an unknown Content-Encoding"));
  EXPECT_THAT(error(infer("identity_fp32", "x", "Content-Encoding: gzip\r\n"), 400),
              HasSubstr("can't be decompressed"));
  EXPECT_THAT(error(request("POST", "/%zz", "x"), 400), HasSubstr("a malformed path"));
  EXPECT_THAT(error(infer("scores", R"({"inputs":[{"name":"INPUT0","datatype":"FP32",
      "shape":[9,1],"data":[1,2,3,4,5,6,7,8,9]}]})"),
                    400),
              HasSubstr("batch-size"));
  client_->fail_with({ErrorKind::overloaded, "the queue is full"});
  EXPECT_EQ(error(infer("identity_fp32", floats_json(kValues)), 503), "the queue is full");
  EXPECT_EQ(client.ask(request("GET", "/v2/health/live")).status, 200);
}

TEST_F(HttpServerTest, AnAnswerThatJsonCantHoldIsAnError) {
  serve();
  HttpClient client = connect();
  const std::string nan = text_of(std::vector<std::uint32_t>{0x7fc00000});
  const std::string json =
      R"({"inputs":[{"name":"INPUT0","datatype":"FP32","shape":[1],"parameters":{"binary_data_size":4}}]})";
  const HttpAnswer answer = client.ask(infer_binary("identity_fp32", json, nan));
  EXPECT_EQ(answer.status, 400);
  EXPECT_THAT(answer.error(), HasSubstr("ask for it as binary data"));
  EXPECT_EQ(client.ask(infer_binary("identity_fp32", floats_binary_json(1), nan)).status, 200);
}

TEST_F(HttpServerTest, TheLengthOfTheJsonMustAgreeWithTheBody) {
  serve();
  HttpClient client = connect();
  const std::string json = floats_binary_json(3);
  const std::string data = text_of(kValues);
  const auto error = [&](const std::string& length, const std::string& body, bool in_chunks) {
    const std::string header = "Inference-Header-Content-Length: " + length + "\r\n";
    const HttpAnswer answer = client.ask(in_chunks ? infer_chunked("identity_fp32", body, 9, header)
                                                   : infer("identity_fp32", body, header));
    EXPECT_EQ(answer.status, 400) << answer.body;
    EXPECT_EQ(answer.header("connection"), "");
    return answer.error();
  };
  const std::string all = std::to_string(json.size());
  for (const bool in_chunks : {false, true}) {
    EXPECT_THAT(error(std::to_string(json.size() + 13), json + data, in_chunks),
                HasSubstr("but the body has"));
    EXPECT_THAT(error("18446744073709551615", json + data, in_chunks),
                HasSubstr("but the body has"));
    EXPECT_THAT(error(std::to_string(json.size() - 1), json + data, in_chunks),
                HasSubstr("failed to parse"));
    EXPECT_THAT(error(std::to_string(json.size() + 1), json + data, in_chunks),
                HasSubstr("failed to parse"));
    EXPECT_THAT(error(all, json, in_chunks), HasSubstr("binary data"));
    EXPECT_THAT(error(all, json + data.substr(1), in_chunks), HasSubstr("binary data"));
    EXPECT_THAT(error(all, json + data + "x", in_chunks), HasSubstr("binary data"));
  }
  for (const char* length : {"abc", "-1", "1x", "0x10", "18446744073709551616", "1.0", "1 2", ""}) {
    EXPECT_EQ(error(length, floats_json(kValues), false),
              "Inference-Header-Content-Length must be a whole number of 0 or more")
        << length;
  }
  EXPECT_EQ(floats_of(client.ask(infer("identity_fp32", floats_json(kValues)))), kValues);
}

TEST_F(HttpServerTest, AServerNeedsAnAddressAndAFreePort) {
  serve();
  const auto start_at = [this](HttpOptions options) {
    const auto server = HttpServer::start(std::move(options), service_.get(), endpoints_);
    return server ? std::nullopt : std::optional(server.error().kind);
  };
  EXPECT_EQ(start_at({.address = "localhost"}), ErrorKind::invalid_input);
  EXPECT_EQ(start_at({.address = "127.0.0.1", .port = server_->port()}), ErrorKind::unavailable);
  EXPECT_EQ(start_at({.address = "203.0.113.1", .port = 0}), ErrorKind::unavailable);
}

}  // namespace
}  // namespace takt::server::http
