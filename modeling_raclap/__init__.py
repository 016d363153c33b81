"""RA-CLAP on the transformers API: what travels to the Hub, and its registration with the Auto classes."""

from transformers import AutoConfig, AutoFeatureExtractor, AutoModel, AutoProcessor

from .configuration_raclap import EcapaTdnnConfig, RaClapConfig, ResNet34Config
from .feature_extraction_raclap import RaClapFeatureExtractor
from .modeling_raclap import RaClapModel, RaClapOutput
from .processing_raclap import RaClapProcessor
from .speaker_encoders_raclap import EcapaTdnnModel, ResNet34Model

# Without these an installed package would still be asked for trust_remote_code.
AutoConfig.register(EcapaTdnnConfig.model_type, EcapaTdnnConfig)
AutoConfig.register(ResNet34Config.model_type, ResNet34Config)
AutoConfig.register(RaClapConfig.model_type, RaClapConfig)
AutoModel.register(EcapaTdnnConfig, EcapaTdnnModel)
AutoModel.register(ResNet34Config, ResNet34Model)
AutoModel.register(RaClapConfig, RaClapModel)
AutoFeatureExtractor.register(RaClapConfig, RaClapFeatureExtractor)
AutoFeatureExtractor.register(EcapaTdnnConfig, RaClapFeatureExtractor)
AutoFeatureExtractor.register(ResNet34Config, RaClapFeatureExtractor)
AutoProcessor.register(RaClapConfig, RaClapProcessor)

# The saved config.json and processor_config.json then name the classes, and the .py files travel along.
RaClapConfig.register_for_auto_class("AutoConfig")
RaClapModel.register_for_auto_class("AutoModel")
RaClapFeatureExtractor.register_for_auto_class("AutoFeatureExtractor")
RaClapProcessor.register_for_auto_class("AutoProcessor")
EcapaTdnnConfig.register_for_auto_class("AutoConfig")
EcapaTdnnModel.register_for_auto_class("AutoModel")
ResNet34Config.register_for_auto_class("AutoConfig")
ResNet34Model.register_for_auto_class("AutoModel")

__all__ = [
    "EcapaTdnnConfig",
    "EcapaTdnnModel",
    "RaClapConfig",
    "RaClapFeatureExtractor",
    "RaClapModel",
    "RaClapOutput",
    "RaClapProcessor",
    "ResNet34Config",
    "ResNet34Model",
]
