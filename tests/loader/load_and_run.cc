// Answers the requests of a folder with a SavedModel, through TensorFlow's C++ loader and session: what TensorFlow
// Serving does with a model, without the server.
//
//     load_and_run MODEL_DIR FOLDER [CALLERS]
//
// The folder is as ccsn_tf/serving/saved_model/fresh_process.py describes it. Built against the libraries of the pip package
// (tests/loader/build_loader.sh). The exit status is 0 when the model could be loaded, whatever became of the
// requests. So many callers ask at once, 1 unless told otherwise.

#include <atomic>
#include <fstream>
#include <iostream>
#include <iterator>
#include <sstream>
#include <string>
#include <thread>
#include <utility>
#include <vector>

#include "tensorflow/cc/saved_model/loader.h"
#include "tensorflow/core/framework/tensor.h"
#include "tensorflow/core/framework/tensor.pb.h"
#include "tensorflow/core/public/session_options.h"

namespace {

std::string Read(const std::string& path) {
  std::ifstream file(path, std::ios::binary);
  return std::string(std::istreambuf_iterator<char>(file), std::istreambuf_iterator<char>());
}

void Write(const std::string& path, const std::string& content) { std::ofstream(path, std::ios::binary) << content; }

// Runs one request, given as "number signature input..."; the outputs go to files.
absl::Status Run(const tensorflow::SavedModelBundle& model, const std::string& folder, const std::string& line) {
  std::istringstream words(line);
  std::string number, name, alias;
  words >> number >> name;
  const auto& signatures = model.GetSignatures();
  const auto found = signatures.find(name);
  if (found == signatures.end()) return absl::NotFoundError("no signature " + name);
  const tensorflow::SignatureDef& signature = found->second;

  std::vector<std::pair<std::string, tensorflow::Tensor>> inputs;
  while (words >> alias) {
    const auto input = signature.inputs().find(alias);
    if (input == signature.inputs().end()) return absl::InvalidArgumentError("no input " + alias);
    tensorflow::TensorProto proto;
    tensorflow::Tensor tensor;
    if (!proto.ParseFromString(Read(folder + "/" + number + ".in." + alias)) || !tensor.FromProto(proto)) {
      return absl::InvalidArgumentError("cannot read input " + alias);
    }
    inputs.emplace_back(input->second.name(), tensor);
  }
  std::vector<std::string> names, aliases;
  for (const auto& output : signature.outputs()) {
    aliases.push_back(output.first);
    names.push_back(output.second.name());
  }
  std::vector<tensorflow::Tensor> outputs;
  const absl::Status status = model.GetSession()->Run(inputs, names, {}, &outputs);
  if (!status.ok()) return status;
  for (size_t i = 0; i < outputs.size(); ++i) {
    tensorflow::TensorProto proto;
    outputs[i].AsProtoField(&proto);
    Write(folder + "/" + number + ".out." + aliases[i], proto.SerializeAsString());
  }
  return absl::OkStatus();
}

}  // namespace

int main(int argc, char** argv) {
  if (argc < 3) {
    std::cerr << "usage: load_and_run MODEL_DIR FOLDER [CALLERS]\n";
    return 2;
  }
  const std::string folder = argv[2];
  tensorflow::SavedModelBundle model;
  const absl::Status loaded = tensorflow::LoadSavedModel(tensorflow::SessionOptions(), tensorflow::RunOptions(),
                                                         argv[1], {"serve"}, &model);
  if (!loaded.ok()) {
    std::cerr << "load_and_run: " << loaded.ToString() << "\n";
    return 1;
  }
  std::ifstream requests(folder + "/requests.txt");
  std::vector<std::string> lines;
  for (std::string line; std::getline(requests, line);) lines.push_back(line);
  std::atomic<size_t> next{0};
  std::vector<std::thread> callers(argc > 3 ? std::stoi(argv[3]) : 1);
  for (std::thread& caller : callers) {
    caller = std::thread([&] {
      for (size_t i = next++; i < lines.size(); i = next++) {
        const absl::Status status = Run(model, folder, lines[i]);
        if (!status.ok()) Write(folder + "/" + lines[i].substr(0, lines[i].find(' ')) + ".error", status.ToString());
      }
    });
  }
  for (std::thread& caller : callers) caller.join();
  return 0;
}
