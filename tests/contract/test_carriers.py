import pytest

from rota.testing.contracts.carrier import CarrierContract


class TestRedis(CarrierContract):
    @pytest.fixture
    def places(self, redis):
        urls = redis.make(), redis.make()
        yield urls
        for url in urls:
            redis.take_back(url)


class TestRabbit(CarrierContract):
    @pytest.fixture
    def places(self, rabbitmq):
        return rabbitmq.make(), rabbitmq.make()
